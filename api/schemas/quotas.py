"""What `/v1/quotas` takes and answers with."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.base import View

MOST = 2**31 - 1


class QuotaRequest(BaseModel):
    """A tenant's limits. What is null or absent has none."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    running_jobs: int | None = Field(default=None, ge=0, le=MOST)
    """Jobs that hold resources of the cluster at once."""
    queued_jobs: int | None = Field(default=None, ge=0, le=MOST)
    """Jobs that wait for their turn; one more is refused."""
    cpus: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """CPUs of its running jobs together."""
    gpus: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """GPUs of its running jobs together."""


class UseView(View):
    """What a tenant's jobs hold now."""

    running_jobs: int
    queued_jobs: int
    cpus: float
    gpus: float


class QuotaView(View):
    """A tenant's limits and use."""

    tenant: str
    """`*`: the tenants that have no quota of their own."""
    object: Literal["quota"] = "quota"
    own: bool
    """False: these limits are those of `*`, or there are none."""
    running_jobs: int | None
    queued_jobs: int | None
    cpus: float | None
    gpus: float | None
    use: UseView
    updated_at: datetime | None
