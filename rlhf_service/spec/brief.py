"""A specification as a person would write it: without what the defaults say anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from rlhf_service.spec.job import JobSpec


def brief_yaml(spec: JobSpec) -> str:
    """YAML that reads back as exactly this specification, as short as that allows."""
    short = brief(spec)
    # A method's defaults differ from those of the fields; what is left out must mean the same.
    whole = short if JobSpec.model_validate(short) == spec else spec.model_dump(mode="json")
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100)


def brief(section: BaseModel) -> dict[str, Any]:
    """The section's `type` and every field that is not at its default."""
    plain = section.model_dump(mode="json")
    shown: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        default = field.get_default(call_default_factory=True, validated_data={})
        if name == "type" or field.is_required() or value != default:
            shown[name] = inner(value, plain[name])
    return shown


def inner(value: object, plain: Any) -> Any:
    """`plain`, the JSON form of `value`, with the sections inside it in brief."""
    if isinstance(value, BaseModel):
        return brief(value)
    if isinstance(value, tuple | list):
        return [inner(item, part) for item, part in zip(value, plain, strict=True)]
    if isinstance(value, Mapping):
        return {key: inner(item, plain[str(key)]) for key, item in value.items()}
    return plain
