"""A calculator as a tool."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from rlhf_service.formula import Formula
from rlhf_service.spec.environment import CalculatorSpec

CALL = re.compile(r"calc\(([^\n]{1,200})\)\s*$")
ERROR = "error"
"""The result of what cannot be worked out."""


@dataclass(frozen=True, slots=True)
class Calculator:
    """Replies to turns that end with `calc(…)`."""

    spec: CalculatorSpec

    def reply(self, turn: str) -> str | None:
        called = CALL.search(turn)
        if called is None:
            return None
        return f"{self.spec.before}{result(called[1])}{self.spec.after}"


def result(expression: str) -> str:
    """Its value: whole numbers without a point, others to six places; ERROR when it has none."""
    try:
        value = Formula.parse(expression).value({})
    except (ValueError, ArithmeticError, KeyError):
        return ERROR
    if not math.isfinite(value):
        return ERROR
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}"
