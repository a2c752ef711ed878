"""`/livez` and `/readyz`: open to everyone."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.deps import ServicesDep
from api.schemas import Readiness
from api.service.health import readiness

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Answers while the process can."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(parts: ServicesDep, response: Response) -> Readiness:
    """503 while this replica cannot do its work; `checks` says why."""
    found = await readiness(parts.settings, parts.database, parts.cluster, parts.reconciler)
    if not found.ready:
        response.status_code = 503
    return found
