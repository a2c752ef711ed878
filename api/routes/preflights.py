"""`/v1/jobs:preflight`."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import CallerDep, ServicesDep, SignedIn
from api.schemas.checks import PreflightRequest, PreflightView

router = APIRouter(prefix="/v1", tags=["jobs"], dependencies=[SignedIn])


@router.post("/jobs:preflight")
async def preflight_job(
    body: PreflightRequest, caller: CallerDep, parts: ServicesDep
) -> PreflightView:
    """What a stage's reward pays for right answers, and for answers that say nothing. Nothing is
    submitted. Only rewards that read text alone; `rlhf preflight` runs the others, and samples.
    """
    return await parts.preflights.look(caller, body)
