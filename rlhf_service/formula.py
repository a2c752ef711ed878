"""Arithmetic over named numbers, as the OpenAI `multi` grader's `calculate_output` writes it.

Parsed by Python's own parser, of whose tree only arithmetic is taken; nothing is ever executed.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_CHARACTERS = 2_000
OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
FUNCTIONS: dict[str, tuple[Callable[..., float], bool]] = {
    "min": (min, True),
    "max": (max, True),
    "abs": (abs, False),
    "floor": (math.floor, False),
    "ceil": (math.ceil, False),
    "exp": (math.exp, False),
    "sqrt": (math.sqrt, False),
    "log": (math.log, False),
}
"""Name → the function, and whether it takes several arguments."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A checked expression."""

    names: frozenset[str]
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> Formula:
        """`+ - * /`, `^` or `**`, parentheses, numbers, names, and FUNCTIONS. Raises ValueError."""
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"longer than {MAX_CHARACTERS} characters; shorten it")
        try:
            tree = ast.parse(text.replace("^", "**").strip(), mode="eval").body
            names = frozenset(names_in(tree))
        except (SyntaxError, RecursionError, MemoryError) as fault:
            why = fault.msg if isinstance(fault, SyntaxError) else "too deeply nested"
            raise ValueError(f"not a formula: {why}") from None
        return cls(names, tree)

    def value(self, values: Mapping[str, float]) -> float:
        """Raises ArithmeticError or ValueError where the arithmetic has no answer."""
        return evaluate(self._tree, values)


def names_in(node: ast.expr) -> set[str]:
    """Names that the expression uses. Raises ValueError for anything but arithmetic."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return set()
        case ast.Name(id=name):
            return {name}
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=inner):
            return names_in(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return names_in(left) | names_in(right)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            several = FUNCTIONS[name][1]
            if len(args) != 1 and not (several and args):
                wanted = "at least one argument" if several else "one argument"
                raise ValueError(f"{name} takes {wanted}, not {len(args)}")
            return set().union(*(names_in(arg) for arg in args))
    raise ValueError(
        f"{ast.unparse(node)!r} is not arithmetic; use + - * / ^, parentheses, numbers, names and "
        f"{', '.join(FUNCTIONS)}"
    )


def evaluate(node: ast.expr, values: Mapping[str, float]) -> float:
    """The value of a checked expression."""
    match node:
        case ast.Constant(value=number):
            return float(number)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=op, operand=inner):
            value = evaluate(inner, values)
            return -value if isinstance(op, ast.USub) else value
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](evaluate(left, values), evaluate(right, values))
        case ast.Call(func=ast.Name(id=name), args=args):
            found = [evaluate(arg, values) for arg in args]
            function, several = FUNCTIONS[name]
            return float(function(found) if several else function(found[0]))
    raise AssertionError(f"unchecked expression {ast.dump(node)}")
