"""Arithmetic with a calculator as a tool."""
