"""Whether this replica lives, and whether it can do its work."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

from api.observe.lag import LoopLag
from api.reconcile.loop import Reconciler
from api.schemas.health import Readiness
from api.service.cluster import Cluster
from api.settings import Settings
from api.store.database import Database
from api.store.migrate import is_current

LATE_AFTER = 30.0
"""Seconds without a finished turn after which the background loops count as stuck."""
WEDGED_AFTER = 300.0
"""Seconds of the same after which only a restart helps. A turn that fails is a finished one, so
neither a database nor a cluster that is away leads here.
"""
MOST_LAG = 5.0
"""Seconds that the event loop may lag before requests should go to another replica."""
ANSWER_WITHIN = 3.0
"""Seconds that one check may take."""


class Health:
    """What the routes `/livez` and `/readyz` call."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        cluster: Cluster,
        reconciler: Reconciler,
        lag: LoopLag,
    ) -> None:
        self.settings, self.database, self.cluster = settings, database, cluster
        self.reconciler, self.lag = reconciler, lag
        self.stopping = False
        """Whether the server takes leave."""

    def living(self) -> str:
        """`ok`, or why this process should be started again."""
        age = self._turn_age()
        return "ok" if age < WEDGED_AFTER else f"the background loop is stuck for {age:.0f} s"

    async def readiness(self) -> Readiness:
        """Looks at the database, the storage and the loops. A cluster that is away is told, but
        requests can still be served, so it does not count.
        """
        checks = {
            "database": await attempt(self._schema),
            "storage": await attempt(self._storage),
            "reconciler": await attempt(self._turns),
            "event_loop": await attempt(self._loop),
        }
        if self.stopping:
            checks["server"] = "stopping"
        ready = all(said == "ok" for said in checks.values())
        return Readiness(ready=ready, checks={**checks, "cluster": self.cluster.fault or "ok"})

    async def _schema(self) -> str:
        current = await is_current(self.database)
        return "ok" if current else "run: python -m api.store.migrate"

    async def _storage(self) -> str:
        folder = self.settings.storage
        writable = await asyncio.to_thread(os.access, folder, os.W_OK)
        return "ok" if writable else f"{folder}: read-only"

    async def _turns(self) -> str:
        age = self._turn_age()
        return "ok" if age < LATE_AFTER else f"no turn for {age:.0f} s"

    async def _loop(self) -> str:
        lag = self.lag.worst()
        return "ok" if lag < MOST_LAG else f"lagged {lag:.1f} s of late"

    def _turn_age(self) -> float:
        if not self.settings.reconcile:
            return 0.0
        return time.monotonic() - self.reconciler.turned_at


async def attempt(check: Callable[[], Awaitable[str]]) -> str:
    """What the check says, or how it failed."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            return await check()
    except TimeoutError:
        return f"no answer within {ANSWER_WITHIN:g} s"
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"
