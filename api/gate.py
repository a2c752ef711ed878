"""Nobody's body is read before it is known who sends it."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import refusal
from api.service.events import Events
from api.service.faults import Fault, NotSignedIn
from api.service.sign_in import SignIn
from api.trail import LOOKS, trail_of

DRIVER = re.compile(r"/v1/internal/jobs/([^/]+)/events")
"""What a driver calls, by its attempt's token."""


class Gate:
    """ASGI middleware, innermost of ours. The framework reads a body, and parses it, before it
    asks a route's dependencies; this asks first, and they take its answer from the trail.
    """

    def __init__(self, app: ASGIApp, sign_in: SignIn, events: Events) -> None:
        self.app = app
        self.sign_in = sign_in
        self.events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = scope["type"] == "http" and scope["path"].startswith("/v1/")
        if guarded and scope["method"] not in LOOKS:
            request = Request(scope)
            try:
                await self._ask(request)
            except Fault as fault:
                await refusal(request, fault)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _ask(self, request: Request) -> None:
        """Raises NotSignedIn, or what goes with a wrong token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotSignedIn("send an API key: Authorization: Bearer rlhf_…")
        trail = trail_of(request.scope)
        if driver := DRIVER.fullmatch(request.scope["path"]):
            trail.attempt = await self.events.attempt_of(driver[1], token)
        else:
            trail.shown = await self.sign_in.check(token)
