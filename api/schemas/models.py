"""What `/v1/models` answers with."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from api.schemas.base import View


class StageModelView(View):
    """A model that one stage left."""

    stage: str
    type: str
    path: str
    model: str | None
    """Name under which chats take it; null for a reward model."""


class ModelView(View):
    """The model that a job was for, or a base model of the operator's."""

    id: str
    """The job's id; `ft:<base>:rlhf:<suffix>:<job>` of a fine-tuning job, which its job's id names
    too; a base model's name."""
    object: Literal["model"] = "model"
    created: int
    """Unix seconds."""
    owned_by: str
    """`rlhf-service`, or `base` for a base model."""
    name: str
    path: str
    created_at: datetime
    stages: list[StageModelView]
    base: str | None = None
    """The model that its last stage began from, to compare it with; null for one made anew."""
    chat: bool
    """Whether it has a chat template; if not, text goes on from a prompt."""
