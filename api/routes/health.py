"""`/livez` and `/readyz`, open to everyone; `/metrics`, for those who run the service."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from api.deps import BearerToken, ServicesDep
from api.schemas.health import Readiness
from api.service.caller import Caller
from api.service.faults import Forbidden

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez(parts: ServicesDep, response: Response) -> dict[str, str]:
    """Answers while the process can; 503 when only a restart helps."""
    said = parts.health.living()
    if said != "ok":
        response.status_code = 503
    return {"status": said}


@router.get("/readyz")
async def readyz(parts: ServicesDep, response: Response) -> Readiness:
    """503 while this replica cannot do its work; `checks` says why."""
    found = await parts.health.readiness()
    if not found.ready:
        response.status_code = 503
    return found


@router.get("/metrics", response_class=Response)
async def metrics(
    token: BearerToken,
    parts: ServicesDep,
    accept: Annotated[str, Header(description="Plain text, or OpenMetrics when asked for.")] = "",
) -> Response:
    """Prometheus' text format. Needs the token of `RLHF_METRICS_TOKEN`, or an operator's key."""
    if not parts.scrape.opens(token):
        caller: Caller = await parts.keys.check(token)
        if not caller.is_operator:
            raise Forbidden("these figures are of all tenants; only the operator's keys show them")
    body, kind = await parts.scrape.text(accept)
    return Response(body, headers={"content-type": kind})
