"""Wakes whoever waits for news of a job, inside this process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Signals:
    """One bell for each listener. Other replicas' news arrive by `store.listener` or by polling."""

    def __init__(self) -> None:
        self._bells: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.work = asyncio.Event()
        """Set when the background loops have something to do before their next turn."""

        self.news = asyncio.Event()
        """Set when any job has new events: webhooks may have to be told."""

    def notify(self, job_id: str) -> None:
        """There are new events of the job."""
        self.news.set()
        for bell in self._bells.get(job_id, ()):
            bell.set()

    def notify_all(self) -> None:
        """News of any job may have been missed."""
        for bells in self._bells.values():
            for bell in bells:
                bell.set()

    @contextmanager
    def listen(self, job_id: str) -> Iterator[asyncio.Event]:
        """A bell that rings for the job's news; the listener clears it."""
        bell = asyncio.Event()
        self._bells[job_id].add(bell)
        try:
            yield bell
        finally:
            self._bells[job_id].discard(bell)
            if not self._bells[job_id]:
                del self._bells[job_id]
