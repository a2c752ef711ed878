"""What is learnt of a request on its way in, for whoever writes its answer's headers and its
entry in the audit log.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from starlette.types import Scope

from api.service.caller import Caller

LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing: a key with the scope `read` may use them."""


@dataclass(slots=True)
class Trail:
    """Made by the envelope, filled in by the gate and the routes' dependencies."""

    request_id: str
    shown: Caller | None = None
    """Whose token it is, when that was asked before the body was read."""
    attempt: int | None = None
    """The attempt whose driver sends it, likewise."""
    caller: Caller | None = None
    """Once let in."""
    object_id: str | None = None
    """What was made, where the path does not name it."""
    headers: dict[str, str] = field(default_factory=dict)
    """More headers of the answer."""


def trail_of(scope: Scope) -> Trail:
    """The request's trail."""
    found: Trail = scope["trail"]
    return found


def address_of(scope: Scope) -> str:
    """Where the request comes from; of an IPv6 address the network, which is one customer's."""
    client = scope.get("client")
    if not client:
        return "unknown"
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return str(client[0])[:64]
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)
