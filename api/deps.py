"""What routes ask for."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.service.faults import NotSignedIn
from api.services import Services

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


async def signed_in(token: BearerToken, parts: ServicesDep) -> str:
    """The id of the caller's API key."""
    return await parts.keys.check(token)


SignedIn = Depends(signed_in)

JobId = Annotated[str, Path(min_length=1, max_length=64, description="The job's id.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most this many.")]
AfterSeq = Annotated[int, Query(ge=0, le=2**53, description="Only events numbered above this.")]
