"""Permissions of checkpoints, as the OpenAI API has them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.openai.request import Section
from api.schemas.base import View
from api.schemas.keys import TenantName


class PermissionRequest(Section):
    """Who may use a checkpoint."""

    project_ids: Annotated[list[TenantName], Field(min_length=1, max_length=100)]
    """Tenants of this service."""


class PermissionView(View):
    """A tenant that may chat with a checkpoint of yours."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: int
    """Unix seconds."""
    project_id: str
    """The tenant."""
