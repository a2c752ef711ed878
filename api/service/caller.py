"""Who asks: a tenant, and what may be done in its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

OPERATOR = "default"
"""The tenant of whoever runs the service; its admins manage every tenant."""


class Scope(StrEnum):
    """What a key may do. Each includes those before it."""

    READ = "read"  #: look
    WRITE = "write"  #: submit, stop, delete, chat
    ADMIN = "admin"  #: keys, quotas, audit log


def including(scopes: Iterable[str]) -> tuple[Scope, ...]:
    """Those scopes and the ones that they include, smallest first."""
    ladder, given = list(Scope), set(scopes)
    highest = max((place for place, scope in enumerate(ladder) if scope in given), default=-1)
    return tuple(ladder[: highest + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A signed-in request's identity."""

    id: str
    """The API key's id, or `oidc-` and a digest of issuer and subject."""
    name: str
    """For people: the key's name, or the subject."""
    tenant: str
    scopes: tuple[Scope, ...]

    @property
    def is_operator(self) -> bool:
        """Whether it manages every tenant, not just its own."""
        return self.tenant == OPERATOR and Scope.ADMIN in self.scopes
