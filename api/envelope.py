"""Around every request: a size limit, security headers, and no traceback to the outside."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from api.trail import Trail

log = logging.getLogger("rlhf.api")

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'self'"
    ),
}
HSTS = "max-age=31536000"
"""Sent where the request came by https: browsers do not come back by http for a year."""


class Envelope:
    """ASGI middleware, inside `observe.middleware`, which gives the request its id."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, larger: Mapping[str, int]) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.larger = larger
        """Pattern of a path → its own limit, for uploads."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        trail = scope["trail"] = Trail(scope["request_id"])
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                answer = MutableHeaders(scope=message)
                answer["x-request-id"] = scope["request_id"]
                for name, value in (*SECURITY_HEADERS.items(), *trail.headers.items()):
                    answer.setdefault(name, value)
                if scope["scheme"] == "https":
                    answer.setdefault("strict-transport-security", HSTS)
                if scope["path"].startswith("/v1"):
                    answer.setdefault("cache-control", "no-store")
            await send(message)

        length = headers.get("content-length", "")
        most = self.most(scope["path"])
        too_large = f"the body is too large; at most {most} bytes are taken"
        if length.isdigit() and int(length) > most:
            refusal = problem(Request(scope), 413, "request_too_large", too_large)
            await refusal(scope, receive, send_with_headers)
            return
        taken = 0

        async def receive_counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:  # a body that did not declare its length
                raise HTTPException(413, too_large)
            return message

        try:
            await self.app(scope, receive_counted, send_with_headers)
        except Exception:
            log.exception("request %s failed", scope["request_id"])
            if started:
                raise
            text = f"a fault of this server; its log has more under {scope['request_id']}"
            answer = problem(Request(scope), 500, "internal_error", text)
            await answer(scope, receive, send_with_headers)

    def most(self, path: str) -> int:
        """Bytes that the body of a request to this path may have."""
        found = (most for pattern, most in self.larger.items() if re.fullmatch(pattern, path))
        return next(found, self.max_body_bytes)
