"""Measures this machine, with the very pieces that jobs run."""
