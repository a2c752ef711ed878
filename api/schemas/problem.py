"""How a request is told that it was not done."""

from __future__ import annotations

from api.schemas.base import View


class ErrorView(View):
    """What OpenAI's clients read."""

    message: str
    type: str
    """`invalid_request_error` or `server_error`."""
    param: str | None
    code: str


class FieldFault(View):
    """What is wrong with one field, and what to do."""

    field: str | None
    """Dotted: `stages[0].steps`. Null when the whole is meant."""
    message: str
    type: str | None = None


class Problem(View):
    """Problem details (RFC 9457), with the `error` object of the OpenAI API beside them."""

    type: str
    """`urn:rlhf:problem:` and the code."""
    title: str
    status: int
    detail: str
    """What is wrong, and what to do."""
    instance: str
    """The path that was asked for."""
    code: str
    param: str | None
    """The field or parameter that it is about."""
    request_id: str | None
    """As in the header `X-Request-ID` and in the service's log."""
    error: ErrorView
    errors: list[FieldFault] | None = None
    """Every wrong field, where there may be several."""
