"""What `/v1/keys` and `/v1/me` take and answer with."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from api.schemas.base import View
from api.service.caller import Scope

TENANT = re.compile(r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")
TenantName = Annotated[str, StringConstraints(pattern=TENANT.pattern)]
"""Small letters, digits and hyphens."""


class KeyRequest(BaseModel):
    """A new API key."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)] = "key"
    scopes: list[Scope] = Field(default_factory=lambda: list(Scope), min_length=1)
    """`read`, `write`, `admin`; each includes those before it. All when absent."""
    tenant: TenantName | None = None
    """Yours when absent; another one only for the operator's admins."""
    expires_at: AwareDatetime | None = None
    """When it stops opening anything; never when absent."""


class RotateRequest(BaseModel):
    """How to replace a key."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    grace_seconds: int = Field(default=0, ge=0, le=7 * 24 * 3600)
    """How long the old secret still works."""


class KeyView(View):
    """An API key without its secret."""

    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    tenant: str
    prefix: str
    """First characters of the secret, to tell keys apart."""
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """To the minute; null while it was never used."""
    revoked_at: datetime | None


class NewKeyView(KeyView):
    """An API key with its secret, which is shown this once."""

    secret: str


class CallerView(View):
    """Whom the service takes the request to be from."""

    id: str
    object: Literal["caller"] = "caller"
    name: str
    tenant: str
    scopes: list[Scope]
