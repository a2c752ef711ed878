"""A request for a job, and whether it was made before."""

from __future__ import annotations

from dataclasses import dataclass

from api.service.caller import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks, and how often."""

    caller: Caller
    idempotency_key: str | None = None
    resent: bool = False
    """The client says that it sends this for the second time or more."""
