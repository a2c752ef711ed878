"""What is known of jobs that are still to be submitted."""

from __future__ import annotations

from typing import Any

from rlhf_service.client.records.base import Record


class FieldFault(Record):
    """What is wrong with one field, and what to do."""

    field: str | None
    message: str
    line: int | None
    """Of the text, from 1."""


class CheckedSpec(Record):
    """What a text says as a job."""

    spec: dict[str, Any] | None
    """With every default filled in; None when there are faults."""
    faults: list[FieldFault]
    note: str
    """What could not be checked."""


class Recipe(Record):
    """A complete job on real data."""

    name: str
    title: str


class PreparedRecipe(Recipe):
    """A recipe whose data is written."""

    seed: int
    spec: dict[str, Any]
    text: str
    """The same job as short YAML."""
