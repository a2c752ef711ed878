"""`/readyz`, which answers 503 with the same body when the service is not ready."""

from __future__ import annotations

from typing import Any

import httpx

from rlhf_service.client.address import Address
from rlhf_service.client.call import Call, one, plain
from rlhf_service.client.errors import ApiError, json_object
from rlhf_service.client.records.admin import Readiness
from rlhf_service.client.retry import Outcome, settled

READYZ: Call[dict[str, Any]] = Call("GET", "/readyz", plain)


def read_readiness(outcome: Outcome, home: Address) -> Readiness:
    """Raises ApiError when there is no answer, or a stranger's."""
    said = json_object(outcome) if isinstance(outcome, httpx.Response) else None
    if said is not None and "checks" in said and isinstance(outcome, httpx.Response):
        return one(Readiness)(outcome, home)
    settled(outcome, home)
    raise ApiError(f"{home.url} is not this service's; check RLHF_URL")
