"""Uploads in parts, in the shapes of the OpenAI API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from api.openai.objects import FileObject, Purpose
from api.openai.request import Section
from api.schemas.base import View

PartId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class CreateUpload(Section):
    """The body of `uploads.create`: a file that is to come in parts."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "filename": "rows.jsonl",
                    "purpose": "fine-tune",
                    "bytes": 2147483648,
                    "mime_type": "text/jsonl",
                }
            ]
        }
    )

    filename: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    purpose: Purpose
    bytes: int = Field(ge=1, lt=2**53)
    """Of the whole file; checked when it is completed."""
    mime_type: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    """Without effect: rows are JSON Lines."""


class CompleteUpload(Section):
    """The body of `uploads.complete`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"part_ids": ["part_0af1", "part_0af2"]}]}
    )

    part_ids: Annotated[list[PartId], Field(min_length=1, max_length=10_000)]
    """The parts in the order in which they make up the file."""
    md5: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{32}$")] | None = None
    """Of the whole file; refused when it differs."""


class UploadObject(View):
    """A file that comes in parts."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    """Of the whole file, as it was announced."""
    created_at: int
    """Unix seconds."""
    expires_at: int
    """Unix seconds. Until then it must be completed."""
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None
    """The finished file; null until completed."""


class UploadPart(View):
    """A part of an upload that has come."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    """Unix seconds."""
    upload_id: str
    bytes: int
    sha256: str
    """Of its bytes."""
