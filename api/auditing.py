"""Writes down what callers change, before they are told that it is done."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.service.audit import Audit, Deed
from api.trail import LOOKS, address_of, trail_of


class Auditing:
    """ASGI middleware inside the envelope. Refused requests are written down too; those that
    nobody signed in for are not, since anyone could fill the log with them.
    """

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self.app = app
        self.audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in LOOKS:
            await self.app(scope, receive, send)
            return
        written = False

        async def write(status: int) -> None:
            nonlocal written
            deed = deed_of(scope, status)
            if deed is not None and not written:
                written = True
                await self.audit.write(deed)

        async def send_written(message: Message) -> None:
            if message["type"] == "http.response.start":
                await write(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, send_written)
        except Exception:
            await write(500)
            raise


def deed_of(scope: Scope, status: int) -> Deed | None:
    """The request as an entry; None when nobody signed in."""
    trail = trail_of(scope)
    if trail.caller is None:
        return None
    named: Mapping[str, object] = scope.get("path_params") or {}
    return Deed(
        caller=trail.caller,
        action=getattr(scope.get("route"), "name", None) or "unknown",
        object_id=trail.object_id or next((str(value) for value in named.values()), None),
        method=scope["method"],
        path=scope["path"],
        address=address_of(scope),
        request_id=trail.request_id,
        status=status,
    )
