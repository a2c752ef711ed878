"""Whether this replica can do its work."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

from api.reconcile.loop import Reconciler
from api.schemas import Readiness
from api.service.cluster import Cluster
from api.settings import Settings
from api.store.database import Database
from api.store.migrate import is_current

LATE_AFTER = 30.0
"""Seconds without a finished turn after which the background loops count as stuck."""


async def readiness(
    settings: Settings, database: Database, cluster: Cluster, reconciler: Reconciler
) -> Readiness:
    """Looks at the database, the storage and the loops. A cluster that is away is told, but
    requests can still be served, so it does not count.
    """

    async def schema() -> str:
        return "ok" if await is_current(database) else "run: python -m api.store.migrate"

    async def storage() -> str:
        return "ok" if os.access(settings.storage, os.W_OK) else f"{settings.storage}: read-only"

    async def loops() -> str:
        late = time.monotonic() - reconciler.turned_at
        return "ok" if not settings.reconcile or late < LATE_AFTER else f"no turn for {late:.0f} s"

    checks = {
        "database": await attempt(schema),
        "storage": await attempt(storage),
        "reconciler": await attempt(loops),
    }
    ready = all(said == "ok" for said in checks.values())
    return Readiness(ready=ready, checks={**checks, "cluster": cluster.fault or "ok"})


async def attempt(check: Callable[[], Awaitable[str]]) -> str:
    """What the check says, or how it failed."""
    try:
        return await check()
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"
