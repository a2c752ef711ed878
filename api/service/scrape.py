"""Brings the figures that are not counted as things happen up to date when they are scraped."""

from __future__ import annotations

import secrets
import time

from api.observe.lag import LoopLag
from api.observe.metrics import Instruments
from api.reconcile.loop import Reconciler
from api.service.cluster import Cluster
from api.service.stream import Streams
from api.settings import Settings
from api.store.database import Database
from api.store.figures import figures
from api.store.listener import Listener
from api.store.types import now

FRESH_SECONDS = 5.0
"""The store is asked at most this often, whoever scrapes."""


class Scrape:
    """What the route `/metrics` calls."""

    def __init__(
        self,
        metrics: Instruments,
        database: Database,
        settings: Settings,
        parts: tuple[Streams, Reconciler, Cluster, Listener, LoopLag],
    ) -> None:
        self.metrics, self.database, self.settings = metrics, database, settings
        self.streams, self.reconciler, self.cluster, self.listener, self.lag = parts
        self._asked = -FRESH_SECONDS

    def opens(self, token: str) -> bool:
        """Whether this is the scraper's own token."""
        own = self.settings.metrics_token
        return own is not None and secrets.compare_digest(
            token.encode(), own.get_secret_value().encode()
        )

    async def text(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type."""
        found = self.metrics
        if time.monotonic() - self._asked >= FRESH_SECONDS:
            self._asked = time.monotonic()
            async with self.database.read() as session:
                stored = await figures(session)
            found.count_jobs(stored.by_status)
            waited = (now() - stored.queued_since).total_seconds() if stored.queued_since else 0.0
            found.queue_age.set(max(waited, 0.0))
            found.leases_held.set(stored.leases)
        found.streams.set(self.streams.open)
        found.stream_jobs.set(self.streams.tails.followed)
        found.loop_lag.set(self.lag.worst())
        found.listening.set(float(self.listener.connected))
        found.cluster_up.set(float(self.cluster.fault is None))
        if self.settings.reconcile:
            found.turn_age.set(time.monotonic() - self.reconciler.turned_at)
        return found.text(accept)
