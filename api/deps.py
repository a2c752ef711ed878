"""What routes ask for."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.service.caller import Caller, Scope
from api.service.faults import Forbidden, NotSignedIn, RateLimited
from api.services import Services
from api.trail import LOOKS, Trail, trail_of

bearer = HTTPBearer(auto_error=False, description="An API key, `rlhf_…`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


def services(request: Request) -> Services:
    """The application's parts."""
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]


def bearer_token(credentials: Credentials) -> str:
    """The token that the request shows. Raises NotSignedIn."""
    if credentials is None:
        raise NotSignedIn("send an API key: Authorization: Bearer rlhf_…")
    return credentials.credentials


BearerToken = Annotated[str, Depends(bearer_token)]


async def signed_in(request: Request, token: BearerToken, parts: ServicesDep) -> Caller:
    """The caller, who may look and, for what is no mere look, write. Raises Forbidden."""
    shown = trail_of(request.scope).shown or await parts.sign_in.check(token)
    caller = let_in(request, parts, shown)
    needed = Scope.READ if request.method in LOOKS else Scope.WRITE
    return allowed(caller, needed)


def let_in(request: Request, parts: Services, caller: Caller) -> Caller:
    """Count the request as the caller's and note whose it is. Raises RateLimited."""
    trail = trail_of(request.scope)
    if (taken := parts.rates.take(caller.id)) is not None:
        trail.headers |= taken.headers
        if not taken.allowed:
            raise RateLimited(
                f"this key may send {taken.limit} requests a minute; wait {taken.wait:.1f} s",
                taken.headers,
            )
    trail.caller = caller
    return caller


async def administering(caller: Annotated[Caller, Depends(signed_in)]) -> Caller:
    """The caller, an admin of its tenant. Raises Forbidden."""
    return allowed(caller, Scope.ADMIN)


def allowed(caller: Caller, needed: Scope) -> Caller:
    if needed not in caller.scopes:
        has = ", ".join(caller.scopes) or "none"
        raise Forbidden(f"this needs a key with the scope {needed!r}; yours has: {has}")
    return caller


def trail(request: Request) -> Trail:
    """Where a route notes what it made."""
    return trail_of(request.scope)


JobId = Annotated[str, Path(min_length=1, max_length=64, description="The job's id.")]


async def driving(request: Request, job_id: JobId, token: BearerToken, parts: ServicesDep) -> int:
    """The attempt whose driver sends this."""
    found = trail_of(request.scope).attempt
    return found if found is not None else await parts.events.attempt_of(job_id, token)


AttemptDep = Annotated[int, Depends(driving)]
TrailDep = Annotated[Trail, Depends(trail)]
SignedIn = Depends(signed_in)
CallerDep = Annotated[Caller, Depends(signed_in)]
AdminDep = Annotated[Caller, Depends(administering)]

Limit = Annotated[int, Query(ge=1, le=1000, description="At most this many.")]
AfterSeq = Annotated[int, Query(ge=0, le=2**53, description="Only events numbered above this.")]
