"""JSON that others wrote, read strictly."""

from __future__ import annotations

import json
import math

from rlhf_service.reward.remote.fault import RemoteFault


def parsed(data: bytes | str) -> object:
    """The JSON value; NaN and Infinity come through, for `number` to refuse. Raises RemoteFault."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise RemoteFault("bad_answer", f"the answer is not JSON: {str(fault)[:200]}") from None
    return value


def number(value: object, what: str) -> float:
    """A finite number. Raises RemoteFault: `bad_answer`, or `not_finite`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RemoteFault("bad_answer", f"{what} is {type(value).__name__}, not a number")
    try:
        finite = float(value)
    except OverflowError:
        finite = math.inf
    if not math.isfinite(finite):
        raise RemoteFault("not_finite", f"{what} is {finite}")
    return finite
