"""What a misspelt field was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from typing import Any

from rlhf_service.spec import JobSpec

Schema = dict[str, Any]


@cache
def schema() -> Schema:
    """The JSON schema of a specification."""
    return JobSpec.model_json_schema()


def suggestion(loc: Sequence[int | str]) -> str:
    """The nearest name of a field that exists where `loc` points (its last part is the wrong one);
    empty when none is near. `loc` is pydantic's: list indices and tags of unions are parts of it.
    """
    node = schema()
    for part in loc[:-1]:
        node = child(node, part)
    near = difflib.get_close_matches(str(loc[-1]), resolve(node).get("properties", {}), n=1)
    return near[0] if near else ""


def child(node: Schema, part: int | str) -> Schema:
    """Where one part of a location leads; nowhere when the schema does not know it."""
    node = resolve(node)
    if isinstance(part, int):
        return dict(node.get("items", {}))
    found = node.get("properties", {}).get(part)
    tagged = node.get("discriminator", {}).get("mapping", {}).get(part)
    return found or ({"$ref": tagged} if tagged else {})


def resolve(node: Schema) -> Schema:
    """The node itself, behind references and `… | null`."""
    while True:
        options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
        if "$ref" in node:
            node = schema()["$defs"][str(node["$ref"]).rsplit("/", 1)[-1]]
        elif len(options) == 1:
            node = options[0]
        else:
            return node
