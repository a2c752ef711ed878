"""Garbage collection: what runs on the cluster although nobody waits for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from api.service.cluster import Cluster
from api.settings import Settings
from api.store.database import Database
from api.store.jobs import find_attempt, find_job
from api.store.leases import release_lease, take_lease
from rlhf_service.errors import LauncherError
from rlhf_service.job import JobStatus
from rlhf_service.launching import Submission

log = logging.getLogger("rlhf.reconcile")


class Sweeper:
    """Consumes the cluster's inventory; waits for the cluster's answers, each at most the
    launcher's timeout.

    The inventory is read before the database. What counts as orphaned (an attempt that was
    settled, a job that ended) stays so for ever, so nothing can be started in between that would
    be mistaken for it.
    """

    def __init__(
        self, database: Database, cluster: Cluster, settings: Settings, owner: str
    ) -> None:
        self.database = database
        self.cluster = cluster
        self.settings = settings
        self.owner = owner

    async def sweep(self) -> None:
        """Look once. Never raises for what the cluster does."""
        try:
            found = await self.cluster.inventory()
            for submission in found.submissions:
                if await self.is_orphan(submission):
                    await self._stop(submission)
            for job_id, names in found.parts.items():
                if await self.has_ended(job_id):
                    await self._remove(job_id, names)
        except LauncherError as fault:
            log.warning("sweep: %s", fault)

    async def is_orphan(self, submission: Submission) -> bool:
        """Whether nobody waits for this attempt any more. Another control plane's never are."""
        if submission.owner not in ("", self.owner):
            return False
        async with self.database.read() as session:
            job = await find_job(session, submission.job_id)
            if job is None:
                return submission.owner == self.owner
            attempt = await find_attempt(session, job.id, submission.attempt)
            settled = attempt is None or attempt.ended_at is not None
            return settled or JobStatus(job.status).is_terminal

    async def has_ended(self, job_id: str) -> bool:
        """Whether it is a job of ours that will start nothing more."""
        async with self.database.read() as session:
            job = await find_job(session, job_id)
        return job is not None and JobStatus(job.status).is_terminal

    async def _stop(self, submission: Submission) -> None:
        name = submission.submission_id
        log.warning("%s still runs although nobody waits for it; stopping it", name)
        await self.cluster.stop(name)

    async def _remove(self, job_id: str, names: Sequence[str]) -> None:
        lease = await take_lease(self.database, job_id, self.settings.lease_seconds)
        if lease is None:
            return  # another replica is at it
        try:
            log.warning("%s has ended but left %s; removing", job_id, ", ".join(names))
            await self.cluster.remove(job_id)
        finally:
            await release_lease(self.database, lease)
