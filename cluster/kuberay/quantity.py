"""Kubernetes' way to write amounts."""

from __future__ import annotations

from decimal import Decimal

UNITS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    **{unit: Decimal(1000) ** (power + 2) for power, unit in enumerate("MGTPE")},
    **{f"{unit}i": Decimal(1024) ** (power + 1) for power, unit in enumerate("KMGTPE")},
}


def quantity(text: str | int | float) -> float:
    """`1500m`, `4Gi`, `2e3` as a number. Raises ValueError."""
    said = str(text).strip()
    for unit in sorted(UNITS, key=len, reverse=True):
        if said.endswith(unit):
            return float(number(said.removesuffix(unit), said) * UNITS[unit])
    return float(number(said, said))


def number(digits: str, whole: str) -> Decimal:
    try:
        return Decimal(digits)
    except ArithmeticError:
        raise ValueError(f"{whole!r} is no quantity") from None
