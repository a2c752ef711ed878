"""Every refusal as one shape: RFC 9457 problem details, and beside them the `error` object that
OpenAI clients read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.service.faults import Fault
from api.suggest import suggestion
from rlhf_service.errors import UserError

log = logging.getLogger("rlhf.api")

TITLES = {
    400: "Bad request",
    401: "Not signed in",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Request too large",
    422: "Invalid request",
    500: "Internal error",
    503: "Not available now",
}
RETRY_MAY_HELP = {408, 429, 500, 502, 503, 504}


def problem(
    request: Request,
    status: int,
    code: str,
    message: str,
    param: str | None = None,
    faults: Sequence[dict[str, str | None]] = (),
) -> JSONResponse:
    """The answer to a request that is not done."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body: dict[str, Any] = {
        "type": f"urn:rlhf:problem:{code}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": message,
        "instance": request.url.path,
        "code": code,
        "param": param,
        "request_id": request.scope.get("request_id"),
        "error": {"message": message, "type": kind, "param": param, "code": code},
    }
    if faults:
        body["errors"] = list(faults)
    headers = {} if status in RETRY_MAY_HELP else {"x-should-retry": "false"}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Let every exception of a route end in `problem`."""

    @app.exception_handler(Fault)
    async def on_fault(request: Request, fault: Fault) -> JSONResponse:
        return problem(request, fault.status, fault.code, fault.message, fault.param)

    @app.exception_handler(UserError)
    async def on_user_error(request: Request, fault: UserError) -> JSONResponse:
        return problem(request, 400, fault.reason, str(fault), fault.field)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, fault: RequestValidationError) -> JSONResponse:
        faults = [explain(error, fault.body) for error in fault.errors()]
        first = faults[0]
        text = f"{first['field']}: {first['message']}" if first["field"] else str(first["message"])
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return problem(request, 422, "invalid_request", text + more, first["field"], faults=faults)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, fault: HTTPException) -> JSONResponse:
        code = TITLES.get(fault.status_code, "error").lower().replace(" ", "_")
        return problem(request, fault.status_code, code, str(fault.detail))


def explain(error: dict[str, Any], body: object) -> dict[str, str | None]:
    """One validation error as a dotted field and what to do about it."""
    field, message = dotted(error["loc"], body), str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        near = suggestion([part for part in error["loc"] if part != "body"])
        message = "there is no such field; " + (f"did you mean {near!r}?" if near else "drop it")
    elif error["type"] == "missing":
        message = "is required; add it"
    elif error["type"] == "json_invalid":
        field, message = None, f"the body is not JSON: {error.get('ctx', {}).get('error', '')}"
    # A check over several fields names the one it is about at the start of its message.
    named = re.match(r"([a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*): (.+)", message, re.DOTALL)
    if error["type"] == "value_error" and named:
        field = f"{field}.{named[1]}" if field else named[1]
        message = named[2]
    return {"field": field, "message": message, "type": error["type"]}


def dotted(loc: Sequence[int | str], body: object) -> str | None:
    """`stages[0].steps`, without the part of the request and the tags of unions."""
    where, value = list(loc), body
    if where and where[0] in ("body", "query", "path", "header"):
        where = where[1:]
    text = ""
    for index, part in enumerate(where):
        is_tag = (
            isinstance(value, dict) and value.get("type") == part and index < len(where) - 1
        ) or (isinstance(value, dict) and value.get("type") == part and part not in value)
        if is_tag:
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            value = None
    return text.removeprefix(".") or None
