"""A file as an answer: whole, in parts, or not at all when the caller has it."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from api.errors import problem
from api.service.faults import NotFound


class Download(FileResponse):
    """ETag, If-None-Match (304), ranges (206), If-Range; 416 as problem details."""

    def __init__(self, path: Path) -> None:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            raise NotFound(f"{path.name} was deleted just now") from None
        super().__init__(
            path, media_type="application/octet-stream", filename=path.name, stat_result=found
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = Headers(scope=scope).get("if-none-match")
        if known is not None and matches(known, self.headers["etag"]):
            headers = {name: self.headers[name] for name in ("etag", "last-modified")}
            await Response(status_code=304, headers=headers)(scope, receive, send)
            return
        refused: Response | None = None

        async def send_or_refuse(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                text = f"the range cannot be served; the file has {self.headers['content-length']} bytes"
                refused = problem(Request(scope), 416, "range_not_satisfiable", text, "Range")
                refused.headers["content-range"] = f"bytes */{self.headers['content-length']}"
            elif refused is None:
                await send(message)

        await super().__call__(scope, receive, send_or_refuse)
        if refused is not None:
            await refused(scope, receive, send)


def matches(known: str, etag: str) -> bool:
    """Whether an If-None-Match header names the file as it is."""
    tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
    return "*" in tags or etag in tags
