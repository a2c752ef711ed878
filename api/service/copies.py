"""Jobs' files in the store that `artefacts` names, for when a job's own folder lacks them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from api.settings import Settings
from rlhf_service.artefacts.base import ArtefactStore
from rlhf_service.artefacts.build import job_uri, store_at

log = logging.getLogger("rlhf.artefacts")

Answer = TypeVar("Answer")
SECONDS = 60.0
"""A call may take; fetching a large file longer is left to its thread, and asked for again."""


class Copies:
    """Asynchronous face of an ArtefactStore for each job. Nothing is found while it is away."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="artefacts")

    async def sizes(self, job_id: str, under: str = "") -> dict[str, int]:
        """Name → bytes of the job's files there, under a file or folder."""
        nothing: dict[str, int] = {}
        found = await self._ask(job_id, lambda store: store.sizes(under), nothing)
        return {name: size for name, size in found.items() if is_under(name, under)}

    async def fetch(self, job_id: str, name: str) -> Path | None:
        """Bring a file back to the job's folder; None when it is not there."""
        target = self.settings.folder(job_id).root / name

        def bring(store: ArtefactStore) -> Path | None:
            try:
                store.fetch(name, target)
            except FileNotFoundError:
                return None
            return target

        return await self._ask(job_id, bring, None)

    async def result(self, job_id: str) -> dict[str, Any] | None:
        """The job's completion record, which is copied last."""
        path = await self.fetch(job_id, "result.json")
        if path is None:
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(
        self, job_id: str, work: Callable[[ArtefactStore], Answer], nothing: Answer
    ) -> Answer:
        uri = job_uri(self.settings.artefacts, job_id)
        if not uri:
            return nothing

        def ask() -> Answer:
            store = store_at(uri)
            assert store is not None
            return work(store)

        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._threads, ask), SECONDS)
        except Exception as fault:
            log.warning("%s: the copies cannot be read: %s", job_id, fault)
            return nothing


def is_under(name: str, under: str) -> bool:
    """Whether a file is the one meant, or lies in the folder meant; all do in the whole."""
    return not under or name == under or name.startswith(f"{under}/")
