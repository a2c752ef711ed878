"""Every refusal as one shape: RFC 9457 problem details, and beside them the `error` object that
OpenAI clients read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.service.faults import Fault, RateLimited, WrongCredentials
from api.service.rates import Rates
from api.suggest import suggestion
from api.trail import address_of
from rlhf_service.errors import UserError
from rlhf_service.explain import explain

log = logging.getLogger("rlhf.api")

TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Request too large",
    416: "Range not satisfiable",
    422: "Invalid request",
    429: "Too many requests",
    500: "Internal error",
    502: "Bad gateway",
    503: "Not available now",
}
RETRY_MAY_HELP = {408, 429, 500, 502, 503, 504}
WAIT = {429: "1", 503: "5"}
"""Seconds until the same request may be answered, where nobody knows better."""
OPENAI_PATHS = ("/v1/files", "/v1/uploads", "/v1/fine_tuning", "/v1/chat", "/v1/completions")
"""Where OpenAI clients call: there an invalid request is 400, as they expect, not 422."""


def is_openai(path: str) -> bool:
    """Whether OpenAI clients call there."""
    return path.startswith(OPENAI_PATHS)


def problem(
    request: Request,
    status: int,
    code: str,
    message: str,
    param: str | None = None,
    faults: Sequence[dict[str, str | None]] = (),
    more_headers: Mapping[str, str] | None = None,
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
    if status in WAIT:
        headers["retry-after"] = WAIT[status]
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    headers |= more_headers or {}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def too_often(request: Request) -> RateLimited | None:
    """What to say to an address that shows wrong credentials again and again."""
    failures: Rates = request.app.state.services.failures
    address = address_of(request.scope)
    log.warning("%s: wrong credentials for %r", address, request.url.path)
    taken = failures.take(address)
    if taken is None or taken.allowed:
        return None
    seconds = taken.headers["retry-after"]
    return RateLimited(
        f"too many wrong keys from this address; wait {seconds} s", {"retry-after": seconds}
    )


def refusal(request: Request, fault: Fault) -> JSONResponse:
    """The answer that a fault asks for."""
    if isinstance(fault, WrongCredentials):
        fault = too_often(request) or fault
    return problem(
        request,
        fault.status,
        fault.code,
        fault.message,
        fault.param,
        fault.faults,
        more_headers=fault.headers,
    )


def install(app: FastAPI) -> None:
    """Let every exception of a route end in `problem`."""

    @app.exception_handler(Fault)
    async def on_fault(request: Request, fault: Fault) -> JSONResponse:
        return refusal(request, fault)

    @app.exception_handler(UserError)
    async def on_user_error(request: Request, fault: UserError) -> JSONResponse:
        return problem(request, 400, fault.reason, str(fault), fault.field)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, fault: RequestValidationError) -> JSONResponse:
        theirs = is_openai(request.url.path)
        near = (lambda _: "") if theirs else suggestion
        faults = [explain(error, fault.body, near) for error in fault.errors()]
        first = faults[0]
        text = f"{first['field']}: {first['message']}" if first["field"] else str(first["message"])
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        status = 400 if theirs else 422
        return problem(
            request, status, "invalid_request", text + more, first["field"], faults=faults
        )

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, fault: HTTPException) -> JSONResponse:
        code = TITLES.get(fault.status_code, "error").lower().replace(" ", "_")
        return problem(request, fault.status_code, code, str(fault.detail))
