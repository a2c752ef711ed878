"""A validation error in a user's words: which field, what is wrong, what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Near = Callable[[Sequence[int | str]], str]
"""Location of an unknown field → the name that was meant; empty when none is near."""

PLAINLY = {
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a section of fields",
    "model_type": "must be a section of fields",
    "model_attributes_type": "must be a section of fields",
}
"""pydantic's kinds of error, where its words are of Python."""

NO_OBJECT = "must be a JSON object, sent with Content-Type: application/json"

ABSENT = object()
"""Where a request has nothing."""


def explain(error: Mapping[str, Any], body: object, near: Near) -> dict[str, str | None]:
    """One of pydantic's errors as a dotted field and what to do about it; `near` may know what a
    misspelt field was meant to be.
    """
    field, message = dotted(error["loc"], body), str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        meant = near([part for part in error["loc"] if part != "body"])
        message = "there is no such field; " + (f"did you mean {meant!r}?" if meant else "drop it")
    elif error["type"] == "missing":
        message = "is required; add it"
    elif error["type"] in PLAINLY:
        message = PLAINLY[error["type"]] if field else f"the body {NO_OBJECT}"
    elif error["type"] == "too_short":
        message = f"needs at least {error.get('ctx', {}).get('min_length', 1)} of them"
    elif error["type"] == "json_invalid":
        field, message = None, f"the body is not JSON: {error.get('ctx', {}).get('error', '')}"
    # A check over several fields names the one it is about at the start of its message.
    named = re.match(r"([a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*): (.+)", message, re.DOTALL)
    if error["type"] == "value_error" and named:
        field = f"{field}.{named[1]}" if field else named[1]
        message = named[2]
    return {"field": field, "message": message, "type": error["type"]}


def dotted(loc: Sequence[int | str], body: object) -> str | None:
    """`stages[0].steps`, without the part of the request and the tags of unions."""
    where = list(loc)
    value = ABSENT if body is None else body
    if where and where[0] in ("body", "query", "path", "header"):
        where = where[1:]
    text = ""
    for part in where:
        if isinstance(value, dict) and value.get("type") == part and part not in value:
            continue
        if value is not ABSENT and not isinstance(value, dict | list):
            break  # what follows tells members of a union apart
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
        if isinstance(value, dict):
            value = value.get(part, ABSENT)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            value = ABSENT
    return text.removeprefix(".") or None
