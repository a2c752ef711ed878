"""What answers the policy between its turns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_service.spec.base import Section


class CalculatorSpec(Section):
    """Works out the arithmetic that a turn ends with: `calc(12*7)`. Other turns end the response."""

    type: Literal["calculator"] = "calculator"

    max_turns: int = Field(default=2, ge=2)
    """Turns of the policy in one response, the last included."""

    before: str = "="
    """Stands before the result in what the policy then reads."""

    after: str = "\n"
    """Stands behind it."""


EnvironmentSpec = CalculatorSpec
"""Environments, told apart by `type`."""
