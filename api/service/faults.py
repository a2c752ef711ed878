"""What a request can be told when it is not done. Each carries its HTTP status and a code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlhf_service.errors import RlhfError

Wrong = dict[str, str | None]
"""One wrong field: `field` and `message`."""


class Fault(RlhfError):
    """A refusal with an HTTP status. `param` names the field or parameter it is about."""

    status = 500
    code = "internal_error"
    headers: Mapping[str, str] = {}
    """More headers of the answer."""
    faults: Sequence[Wrong] = ()
    """Every wrong field, where there may be several."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class BadParameter(Fault):
    """A parameter has no usable value."""

    status, code = 400, "invalid_parameter"


class InvalidSpec(Fault):
    """What a job's specification would become is none."""

    status, code = 422, "invalid_request"

    @classmethod
    def of(cls, faults: Sequence[Wrong]) -> InvalidSpec:
        """From at least one wrong field."""
        first = faults[0]
        text = f"{first['field']}: {first['message']}" if first["field"] else str(first["message"])
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        found = cls(text + more, first["field"])
        found.faults = faults
        return found


class NotSignedIn(Fault):
    """No key, or not a valid one."""

    status, code = 401, "unauthenticated"


class WrongCredentials(NotSignedIn):
    """A key or token was shown, and it is not valid. Too many from one address are answered 429."""


class RateLimited(Fault):
    """More requests than a caller, or an address, may send."""

    status, code = 429, "rate_limited"

    def __init__(self, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.headers = headers


class Forbidden(Fault):
    """The caller's key does not allow it."""

    status, code = 403, "forbidden"


class NotFound(Fault):
    """No such thing, or not yours."""

    status, code = 404, "not_found"


class Conflict(Fault):
    """The thing's state does not allow it."""

    status, code = 409, "conflict"


class TooLarge(Fault):
    """More bytes than this service takes."""

    status, code = 413, "request_too_large"


class IdempotencyConflict(Fault):
    """One Idempotency-Key, two different bodies."""

    status, code = 409, "idempotency_key_reused"


class Busy(Fault):
    """More is asked at once than this service takes; trying again later may help."""

    status, code = 429, "busy"


class QuotaExceeded(Fault):
    """The tenant has as much as it may have."""

    status, code = 429, "quota_exceeded"


class GenerationFailed(Fault):
    """A model that should answer does not."""

    status, code = 500, "generation_failed"


class ClusterUnreachable(Fault):
    """The cluster does not answer; trying again later may help."""

    status, code = 503, "cluster_unreachable"
