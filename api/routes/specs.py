"""`/v1/specs`."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import ServicesDep, SignedIn
from api.schemas import CheckedSpec, SpecText

router = APIRouter(prefix="/v1/specs", tags=["jobs"], dependencies=[SignedIn])


@router.post("/check")
async def check_spec(draft: SpecText, parts: ServicesDep) -> CheckedSpec:
    """Read a job from JSON or YAML and check it as a submission would; nothing is submitted."""
    return await parts.drafts.check(draft.text)
