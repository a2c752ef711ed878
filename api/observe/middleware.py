"""Around every request: its id, its line in the log, its figures, its span."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.observe import context
from api.observe.metrics import Instruments
from rlhf_service.tracing.base import Tracer

log = logging.getLogger("rlhf.access")

JOB = re.compile(r"/(?:jobs|batches)/((?:ftjob-|job-)[0-9a-z]{4,64})")
QUIET = ("/livez", "/readyz", "/metrics", "/web/", "/v1/internal/")
"""Asked all the time; logged only when they fail, or at level `debug`."""


class Observed:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, metrics: Instruments, tracer: Tracer) -> None:
        self.app, self.metrics, self.tracer = app, metrics, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        scope["request_id"] = request_id(headers.get("x-request-id"))
        named = JOB.search(path)
        tokens = (
            (context.request_id, context.request_id.set(scope["request_id"])),
            (context.job_id, context.job_id.set(named[1] if named else None)),
        )
        began, status, answered = time.perf_counter(), 500, 0.0

        async def send_watched(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], time.perf_counter() - began
            await send(message)

        self.metrics.requests_open.inc()
        try:
            with self.tracer.span(method, parent=headers.get("traceparent")) as span:
                context.traceparent.set(span.traceparent or None)
                await self.app(scope, receive, send_watched)
                route = route_of(scope)
                span.rename(f"{method} {route}")
                span.note(route=route, status=status, request_id=scope["request_id"])
        finally:
            self.metrics.requests_open.dec()
            route, whole = route_of(scope), time.perf_counter() - began
            self.metrics.answered(method, route, status, answered or whole)
            quiet = status < 400 and path.startswith(QUIET)
            figures = {"method": method, "route": route, "status": status}
            log.log(
                logging.DEBUG if quiet else logging.INFO,
                "%s %s %d %.1f ms", method, path, status, whole * 1000,
                extra={**figures, "path": path, "seconds": round(whole, 6)},
            )  # fmt: skip
            for variable, token in tokens:
                variable.reset(token)


def route_of(scope: Scope) -> str:
    """The route's template; a path that has none must not become a label of its own."""
    return str(getattr(scope.get("route"), "path", "") or "unmatched")


def request_id(given: str | None) -> str:
    """The caller's own id when it is harmless, else a new one."""
    if given and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given):
        return given
    return f"req-{secrets.token_hex(8)}"
