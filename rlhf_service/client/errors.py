"""What can go wrong with a request. Every message is the service's own where it gave one.

ApiError
├── Unreachable          there was no answer
├── NotSignedIn          401: no key, or one that opens nothing
├── Forbidden            403: the key may not do this
├── NotFound             404
├── Conflict             409: not in this state
├── TooManyRequests      429: come back after `retry_after` seconds
├── Refused              any other 4xx; `faults` names every field
└── ServerFault          5xx
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field."""

    field: str | None
    """Dotted: `stages[0].steps`."""
    message: str


class ApiError(Exception):
    """The service refused a request, or could not be reached."""

    def __init__(
        self,
        message: str,
        status: int | None = None,
        field: str | None = None,
        *,
        code: str | None = None,
        faults: tuple[Fault, ...] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; None when there was no answer."""
        self.field = field
        """What the refusal is about, as a dotted path."""
        self.code = code
        """The refusal's name, for programs."""
        self.faults = faults
        """Every field that is wrong, where the service told more than one."""
        self.request_id = request_id
        """Under which the service's log has more."""
        self.retry_after = retry_after
        """Seconds after which the service said to come back."""


class Unreachable(ApiError):
    """There was no answer."""


class NotSignedIn(ApiError):
    """No key, or one that opens nothing."""


class Forbidden(ApiError):
    """The key may not do this."""


class NotFound(ApiError):
    """There is no such thing."""


class Conflict(ApiError):
    """Not in the state that it is in."""


class TooManyRequests(ApiError):
    """A limit is reached."""


class Refused(ApiError):
    """The request is wrong."""


class ServerFault(ApiError):
    """A fault of the service."""


BY_STATUS: dict[int, type[ApiError]] = {
    401: NotSignedIn,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: TooManyRequests,
}


def refusal(reply: httpx.Response) -> ApiError:
    """The error that an answer of 400 or more stands for, whatever its shape."""
    body = json_object(reply) or {}
    error = body.get("error")
    error = error if isinstance(error, dict) else {}
    message = body.get("detail") or error.get("message") or f"HTTP {reply.status_code}"
    listed = body.get("errors")
    faults = tuple(
        Fault(item.get("field"), str(item.get("message")))
        for item in (listed if isinstance(listed, list) else [])
        if isinstance(item, dict)
    )
    kind = BY_STATUS.get(reply.status_code, ServerFault if reply.status_code >= 500 else Refused)
    return kind(
        str(message),
        reply.status_code,
        error.get("param"),
        code=body.get("code"),
        faults=faults,
        request_id=reply.headers.get("x-request-id"),
        retry_after=seconds_after(reply),
    )


def seconds_after(reply: httpx.Response) -> float | None:
    """`Retry-After` in seconds; a date in it is not read."""
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def json_object(reply: httpx.Response) -> dict[str, Any] | None:
    try:
        body = reply.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def expect_object(reply: httpx.Response) -> dict[str, Any]:
    """The JSON object of a good answer. Raises ApiError when a stranger answered."""
    body = json_object(reply)
    if body is None:
        raise ApiError(f"{reply.url} is not this service's; check RLHF_URL", reply.status_code)
    return body
