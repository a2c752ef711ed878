"""`/ray/`: Ray's dashboard, read-only, for the operator. Browsers sign in at `/ray/session`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse

from api.deps import Credentials, ServicesDep, let_in
from api.service.caller import Caller
from api.service.faults import Forbidden, NotSignedIn
from api.service.sessions import SESSION_SECONDS

router = APIRouter(prefix="/ray", include_in_schema=False)

COOKIE = "rlhf_ray"
SIGN_IN_PAGE = Path(__file__).parents[1] / "web" / "ray-sign-in.html"
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'"
)
"""The dashboard's pages write styles of their own; they may load and ask nothing elsewhere."""


def operating(caller: Caller) -> Caller:
    """The dashboard shows every tenant's jobs, so it is the operator's alone. Raises Forbidden."""
    if not caller.is_operator:
        raise Forbidden("Ray's dashboard needs a key of the operator with the scope 'admin'")
    return caller


async def looking(request: Request, credentials: Credentials, parts: ServicesDep) -> Caller:
    """Who looks: by a key, as elsewhere, or by a browser's session."""
    if credentials is not None:
        caller = await parts.sign_in.check(credentials.credentials)
    elif cookie := request.cookies.get(COOKIE):
        caller = await parts.sessions.check(cookie)
    else:
        raise NotSignedIn("sign in at /ray/session, or send an API key")
    return operating(let_in(request, parts, caller))


@router.get("/session")
async def sign_in_page() -> FileResponse:
    """A form for the API key."""
    return FileResponse(SIGN_IN_PAGE)


@router.post("/session", status_code=303)
async def begin_session(
    request: Request, parts: ServicesDep, api_key: Annotated[str, Form(max_length=512)]
) -> RedirectResponse:
    """Take the key once; from then on a cookie stands for it, under `/ray` only."""
    caller = operating(let_in(request, parts, await parts.keys.check(api_key.strip())))
    answer = RedirectResponse("/ray/", 303)
    answer.set_cookie(
        COOKIE,
        parts.sessions.begin(caller.id),
        max_age=SESSION_SECONDS,
        path="/ray",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.delete("/session", status_code=204)
async def end_session() -> Response:
    """Forget the cookie."""
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/ray", httponly=True, samesite="strict")
    return answer


@router.get("")
async def to_the_front() -> RedirectResponse:
    return RedirectResponse("/ray/", 307)


@router.get("/")
async def front(request: Request, credentials: Credentials, parts: ServicesDep) -> Response:
    """The dashboard's page; a browser that is not signed in is sent to where it can."""
    try:
        caller = await looking(request, credentials, parts)
    except NotSignedIn:
        if credentials is not None or "text/html" not in request.headers.get("accept", ""):
            raise
        return RedirectResponse("/ray/session", 303)
    return await look("", request, parts, caller)


@router.api_route("/{path:path}", methods=["GET", "HEAD"])
async def look(
    path: str,
    request: Request,
    parts: ServicesDep,
    caller: Annotated[Caller, Depends(looking)],
) -> Response:
    """What Ray's dashboard answers, while it comes."""
    stack = AsyncExitStack()
    query = request.scope["query_string"]
    seen = await stack.enter_async_context(
        parts.dashboard.look(request.method, path, query, request.headers)
    )

    async def pieces() -> AsyncIterator[bytes]:
        async with stack:
            async for piece in seen.body:
                yield piece

    headers = {"content-security-policy": POLICY, "cache-control": "private, no-store"}
    if path.startswith("static/"):
        headers["cache-control"] = "private, max-age=3600"
    given = {**seen.headers, **headers}
    if path and given.get("content-type", "").startswith("text/html"):
        given["content-type"] = "text/plain; charset=utf-8"  # whatever a job printed is no page
    return StreamingResponse(pieces(), seen.status, given)
