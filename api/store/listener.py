"""Hears from PostgreSQL which jobs other replicas wrote events of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.store.database import NEWS_CHANNEL, Database

log = logging.getLogger("rlhf.events")

PROBE_SECONDS = 15.0
"""Between two questions whether the connection still lives."""
PAUSES = (0.1, 0.5, 2.0, 5.0)
"""Seconds before the next try to connect."""


class Listener:
    """Consumes notices of commits; waits on one connection of its own; unblocked by a notice, the
    connection's end or the probe. What was missed while it was away is made up for by `on_gap`.
    """

    def __init__(
        self, database: Database, on_news: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        self._database, self._on_news, self._on_gap = database, on_news, on_gap
        self.connected = False
        """Whether notices are heard now; polling does alone while they are not."""

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            try:
                await self._listen()
                failures = 0
            except (OSError, SQLAlchemyError, TimeoutError, ConnectionError) as fault:
                log.warning("no notices of other replicas' events for now: %s", fault)
                failures += 1
            finally:
                self.connected = False
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])

    async def _listen(self) -> None:
        """Until the connection ends."""
        ended = asyncio.Event()
        async with self._database.engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).driver_connection
            raw.add_termination_listener(lambda _: ended.set())
            await raw.add_listener(NEWS_CHANNEL, lambda _c, _pid, _channel, job: self._on_news(job))
            await connection.rollback()
            self.connected = True
            self._on_gap()
            try:
                while not ended.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(ended.wait(), PROBE_SECONDS)
                        break
                    async with asyncio.timeout(PROBE_SECONDS):
                        await connection.execute(text("SELECT 1"))
                        await connection.rollback()
            finally:
                # Back in the pool it would go on hearing notices for nobody.
                await connection.invalidate()
