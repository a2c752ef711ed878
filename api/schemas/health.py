"""What `/readyz` answers with."""

from __future__ import annotations

from api.schemas.base import View


class Readiness(View):
    """Whether this replica can do its work."""

    ready: bool
    checks: dict[str, str]
    """`ok`, or what is wrong. The cluster's state is told but does not count."""
