"""`/v1/specs`."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import CallerDep, ServicesDep, SignedIn
from api.schemas.specs import CheckedSpec, SpecText

router = APIRouter(prefix="/v1/specs", tags=["jobs"], dependencies=[SignedIn])


@router.post("/check")
async def check_spec(draft: SpecText, caller: CallerDep, parts: ServicesDep) -> CheckedSpec:
    """Read a job from JSON or YAML and check it as a submission would; nothing is submitted."""
    return await parts.drafts.check(caller, draft.text)
