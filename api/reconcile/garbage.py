"""Removes from storage what nothing refers to any more."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from pathlib import Path

from sqlalchemy import delete, select

from api.service.uploads import Uploads
from api.settings import Settings
from api.store.database import Database
from api.store.tables import GarbageRow

log = logging.getLogger("rlhf.reconcile")

AT_ONCE = 20


class Garbage:
    """Consumes paths that were given up, and uploads that nobody completed; waits for the disk.

    Any number of replicas may do this: removing what is gone already is no fault, and a path is
    only forgotten once it is gone.
    """

    def __init__(self, database: Database, uploads: Uploads, settings: Settings) -> None:
        self.database = database
        self.uploads = uploads
        self.settings = settings

    async def collect(self) -> int:
        """Remove some. Returns how many paths are gone."""
        await self.uploads.expire()
        async with self.database.read() as session:
            rows = list(await session.scalars(select(GarbageRow).limit(AT_ONCE)))
        gone = []
        for row in rows:
            try:
                await asyncio.to_thread(self._remove, Path(row.path))
                gone.append(row.number)
            except OSError as fault:
                log.warning("%s cannot be removed; tried again later: %s", row.path, fault)
        if gone:
            async with self.database.write() as session:
                await session.execute(delete(GarbageRow).where(GarbageRow.number.in_(gone)))
        return len(gone)

    def _remove(self, path: Path) -> None:
        storage = Path(os.path.realpath(self.settings.storage))
        if storage not in Path(os.path.realpath(path)).parents:
            log.error("%s is outside the storage and is left alone", path)
            return
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            # Gone, or going at another replica's hands; what is left is found the next time.
            if path.exists():
                raise
