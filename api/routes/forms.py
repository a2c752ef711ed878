"""Bodies that are read as they come, as the OpenAPI document tells of them."""

from __future__ import annotations

from typing import Any

FILE = {"type": "string", "format": "binary"}
"""A field that is a file."""


def form(**fields: dict[str, Any]) -> dict[str, Any]:
    """What a route adds to the document for a form whose every field is required."""
    schema = {"type": "object", "required": list(fields), "properties": fields}
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}
