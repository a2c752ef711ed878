"""EnvironmentSpec → Environment."""

from __future__ import annotations

from rlhf_service.environment.base import Environment
from rlhf_service.environment.calculator import Calculator
from rlhf_service.spec.environment import CalculatorSpec, EnvironmentSpec


def build_environment(spec: EnvironmentSpec) -> Environment:
    """The environment of a stage."""
    match spec:
        case CalculatorSpec():
            return Calculator(spec)
