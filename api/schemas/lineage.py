"""Registering models, and where models come from."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas.base import View
from api.schemas.jobs import ParentView
from rlhf_service.spec import JobSpec


class RegisterModel(BaseModel):
    """A model folder to give a name."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"id": "our-base", "path": "/srv/models/our-base"}]},
    )

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """The name under which chats and fine-tuning jobs take it."""
    path: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field()
    """A Hugging Face model folder, absolute, below a folder that jobs may read."""


class InputView(View):
    """A file or folder that a job read, as it was when the job was accepted."""

    field: str
    """Dotted, in the job's specification."""
    kind: Literal["data", "model", "tokenizer"]
    path: str
    sha256: str | None
    """Of a data file's bytes; of a folder of data, of its files' digests. Null for models."""
    bytes: int
    file_id: str | None
    """The uploaded file that it is."""
    job_id: str | None
    """The job that left it."""
    is_there: bool
    """Whether it still lies where it was."""


class LineageView(View):
    """Where a model comes from, and what came of it."""

    id: str
    """The model's."""
    object: Literal["model.lineage"] = "model.lineage"
    job_id: str | None
    """The job that made it; null for models that were there before."""
    name: str
    created_at: datetime
    parent: ParentView | None
    """The job that its job was made from."""
    config: JobSpec | None
    """The job's specification."""
    inputs: list[InputView]
    """Data, and the models that it started from or was judged by."""
    descendants: list[str]
    """Jobs that read this model or were made from its job, oldest first; at most 1,000."""
