"""One look at one job that holds resources: compare what is stored with what is, and act."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from api.failpoints import Point, passing
from api.observe.metrics import Instruments
from api.reconcile.attempts import launch_request, open_attempt, prepare_folder
from api.reconcile.settlement import Facts, Retry, Settle, Wait, settle
from api.reconcile.spool import Spool
from api.service.cluster import Cluster
from api.service.copies import Copies
from api.service.ingest import take_in
from api.service.signals import Signals
from api.settings import Settings
from api.store.database import Database
from api.store.events import append_own
from api.store.jobs import find_attempt, find_job
from api.store.leases import Lease, LeaseLost, lock_leased, release_lease, take_lease
from api.store.moves import move
from api.store.tables import AttemptRow, JobRow
from api.store.types import now
from rlhf_service.errors import LauncherError, LauncherUnreachable
from rlhf_service.events import JobStopped, Log
from rlhf_service.job import JobStatus, StopReason, can_move
from rlhf_service.launching import LaunchState
from rlhf_service.spec import JobSpec
from rlhf_service.storage import JobFolder

log = logging.getLogger("rlhf.reconcile")

PATIENCE = 3
"""Of the grace for leftovers: one to go by themselves, the rest to be removed."""

UNANSWERED = "the cluster does not answer"
"""How notes begin that no longer hold once the cluster answers."""

PREEMPTED = "the cluster took its room back; it goes on from its checkpoint when there is room"


class Visitor:
    """Consumes jobs that hold resources; waits for the cluster's answers; unblocked by the
    launcher's timeout. Every write is fenced by the lease, so a visitor that froze in between
    writes nothing; what it may still send to the cluster is idempotent.
    """

    def __init__(
        self,
        database: Database,
        cluster: Cluster,
        signals: Signals,
        settings: Settings,
        secret: bytes,
        metrics: Instruments | None = None,
    ) -> None:
        self.metrics = metrics or Instruments()
        self.copies = Copies(settings)
        self.database = database
        self.cluster = cluster
        self.signals = signals
        self.settings = settings
        self.secret = secret
        self.spool = Spool()
        self._unknown: dict[
            str, int
        ] = {}  # submission → consecutive looks the cluster knew nothing
        self._gone_since: dict[str, float] = {}  # submission → when its driver was first seen gone
        self._stopped_at: dict[
            str, float
        ] = {}  # submission → when its driver was last told to stop

    async def visit(self, job_id: str) -> None:
        """Look once. Never raises for what the cluster or another replica does."""
        lease = await take_lease(self.database, job_id, self.settings.lease_seconds)
        self.metrics.leases.labels("taken" if lease else "held_elsewhere").inc()
        if lease is None:
            return
        try:
            await self._look(lease)
        except LauncherError as fault:
            await self._note(lease, f"{UNANSWERED}; nothing was changed: {fault}")
        except LeaseLost as fault:
            self.metrics.leases.labels("lost").inc()
            log.warning("%s", fault)
        except Exception:
            log.exception("%s: this look failed; the next may not", job_id)
        finally:
            await release_lease(self.database, lease)

    async def _look(self, lease: Lease) -> None:
        job, attempt = await self._read(lease)
        if job is None or attempt is None or not JobStatus(job.status).holds_resources:
            return
        folder = self.settings.folder(job.id)
        asked_to_stop = job.status in (JobStatus.CANCELLING, JobStatus.PAUSING)
        if asked_to_stop:
            await asyncio.to_thread(raise_flag, folder)
            passing(Point.FLAG_RAISED)
        elif attempt.submitted_at is None:
            await self._submit(lease, job, attempt, folder)
        state = await self.cluster.state(attempt.submission_id)
        await self._take_spool(lease, folder)
        if state in (LaunchState.PENDING, LaunchState.RUNNING):
            self._unknown.pop(attempt.submission_id, None)
            await self._press(job, attempt, folder, state)
            if job.status == JobStatus.PROVISIONING:
                begun = state is LaunchState.RUNNING
                said = "its driver is starting" if begun else "its driver has not started yet"
                await self._note(lease, f"submitted; {said}")
            elif state is LaunchState.PENDING and job.status == JobStatus.RUNNING:
                await self._note(lease, PREEMPTED)
            elif job.message.startswith((UNANSWERED, PREEMPTED)):
                await self._note(lease, "")
            return
        if state is LaunchState.UNKNOWN and not folder.result.exists():
            looks = self._unknown.get(attempt.submission_id, 0) + 1
            self._unknown[attempt.submission_id] = looks
            never_there = asked_to_stop and attempt.submitted_at is None
            if looks < self.settings.lost_looks and not never_there:
                await self._note(lease, f"{UNANSWERED} for {attempt.submission_id}: unknown")
                return
        await self._settle(lease, attempt, folder, state)

    async def _submit(
        self, lease: Lease, job: JobRow, attempt: AttemptRow, folder: JobFolder
    ) -> None:
        """Hand the attempt to the cluster. Repeating it makes no second one."""
        await prepare_folder(job, folder)
        passing(Point.FOLDER_PREPARED)
        async with self.database.read() as session:
            fresh = await find_job(session, job.id)
        if fresh is None or fresh.version != job.version or fresh.lease_token != lease.token:
            raise LeaseLost(f"{job.id} changed before it was submitted; the next look decides")
        passing(Point.SUBMITTING)
        try:
            await self.cluster.submit(launch_request(job, self.settings, self.secret))
        except LauncherUnreachable:
            raise  # asked again at the next look; a second submission of the same name is none
        except LauncherError as fault:
            await self.cluster.capacity()  # raises when it is unreachable rather than unwilling
            await self._refused(lease, attempt.number, str(fault))
            raise
        passing(Point.SUBMITTED)
        async with self.database.write() as session:
            await lock_leased(session, lease)
            stored = await find_attempt(session, job.id, attempt.number)
            if stored is not None:
                stored.submitted_at = attempt.submitted_at = now()
        passing(Point.SUBMIT_RECORDED)

    async def _refused(self, lease: Lease, number: int, why: str) -> None:
        async with self.database.write() as session:
            job = await lock_leased(session, lease)
            attempt = await find_attempt(session, job.id, number)
            assert attempt is not None
            attempt.refusals += 1
            if attempt.refusals >= self.settings.launch_refusals:
                attempt.ended_at, attempt.outcome = now(), f"refused: {why}"
                reason = StopReason.LAUNCH_FAILED
                message = f"the cluster refused it {attempt.refusals} times: {why}"
                await move(session, job, JobStatus.FAILED, reason=reason, message=message)
        self.signals.notify(lease.job_id)

    async def _press(
        self, job: JobRow, attempt: AttemptRow, folder: JobFolder, state: LaunchState
    ) -> None:
        """Stop a driver that had its time to stop by itself, or that never began."""
        if job.status in (JobStatus.CANCELLING, JobStatus.PAUSING):
            cancelling = job.status == JobStatus.CANCELLING
            grace = self.settings.cancel_grace if cancelling else self.settings.pause_grace
            waited = (now() - (job.stop_requested_at or now())).total_seconds()
            if state is LaunchState.PENDING:
                grace = 0.0
        else:
            grace, waited = self.settings.driver_grace, await asyncio.to_thread(result_age, folder)
        last = self._stopped_at.get(attempt.submission_id)
        if waited >= grace and (last is None or time.monotonic() - last > 5):
            self._stopped_at[attempt.submission_id] = time.monotonic()
            passing(Point.STOPPING)
            await self.cluster.stop(attempt.submission_id)
            passing(Point.STOPPED)

    async def _settle(
        self, lease: Lease, attempt: AttemptRow, folder: JobFolder, state: LaunchState
    ) -> None:
        name = attempt.submission_id
        gone_since = self._gone_since.setdefault(name, time.monotonic())
        gone_for, grace = time.monotonic() - gone_since, self.settings.leftover_grace
        result = await asyncio.to_thread(read_result, folder)
        if result is None:
            result = await self.copies.result(lease.job_id)
        departed = await asyncio.to_thread(folder.leaving(attempt.number).exists)
        leftovers = await self.cluster.leftovers(lease.job_id)
        if leftovers and gone_for >= grace:
            await self.cluster.remove(lease.job_id)
        try:
            log_tail = await self.cluster.logs(name)
        except LauncherError:
            log_tail = ""
        passing(Point.SETTLING)
        async with self.database.write() as session:
            job = await lock_leased(session, lease)
            stored = await find_attempt(session, job.id, attempt.number)
            assert stored is not None
            facts = Facts(
                has_result=result is not None,
                stopped=JobStopped.model_validate(stored.stopped) if stored.stopped else None,
                leftovers=leftovers,
                overdue=gone_for >= PATIENCE * grace,
                departed=departed,
                log_tail=log_tail,
                how="the cluster no longer knows it"
                if state is LaunchState.UNKNOWN
                else "its driver ended without a last word",
            )
            limit = JobSpec.model_validate(job.spec).recovery.max_attempts
            verdict = settle(JobStatus(job.status), job.deaths, limit, facts)
            match verdict:
                case Wait(message):
                    job.message = message
                    return
                case Settle(status, reason, message):
                    job.result = result
                    stored.outcome = message or status
                    job.deaths += reason is StopReason.ATTEMPTS_EXHAUSTED
                    await move(session, job, status, reason=reason, message=message)
                    await come_back(session, job)
                case Retry(message, died):
                    stored.outcome = message
                    job.deaths += died
                    fresh = await open_attempt(session, job, self.secret)
                    ended = "died" if died else "ended"
                    said = f"attempt {attempt.number} {ended} ({message}); starting {fresh.number}"
                    if can_move(JobStatus(job.status), JobStatus.RECOVERING):
                        await move(session, job, JobStatus.RECOVERING, message=said)
                    else:  # it died while recovering
                        job.message = said
                        await append_own(session, job, Log(level="warning", message=said))
            stored.ended_at = now()
            passing(Point.SETTLE_WRITING)
        passing(Point.SETTLED)
        for memory in (self._unknown, self._gone_since, self._stopped_at):
            memory.pop(name, None)
        if isinstance(verdict, Settle):
            self.spool.forget(folder)
        self.signals.notify(lease.job_id)
        self.signals.work.set()

    async def _take_spool(self, lease: Lease, folder: JobFolder) -> None:
        for batch in self.spool.batches(lease.job_id, folder):
            async with self.database.write() as session:
                job = await lock_leased(session, lease)
                accepted = await take_in(session, job, batch)
            self.metrics.took("spool", accepted, len(batch) - accepted)
            if accepted:
                self.signals.notify(lease.job_id)

    async def _read(self, lease: Lease) -> tuple[JobRow | None, AttemptRow | None]:
        async with self.database.read() as session:
            job = await find_job(session, lease.job_id)
            found = None if job is None else await find_attempt(session, job.id, job.attempt)
            return job, found

    async def _note(self, lease: Lease, message: str) -> None:
        """Say on the job what it waits for; not an event."""
        try:
            async with self.database.write() as session:
                job = await lock_leased(session, lease)
                if not JobStatus(job.status).is_terminal:
                    job.message = message
        except LeaseLost:
            return


async def come_back(session: AsyncSession, job: JobRow) -> None:
    """A job that paused to make room for another waits for its turn again."""
    winner = job.preempted_by
    if job.status == JobStatus.PAUSED and winner is not None:
        job.preempted_by = None
        await move(session, job, JobStatus.QUEUED, message=f"made room for {winner}")


def raise_flag(folder: JobFolder) -> None:
    """Ask the learner to checkpoint and stop at its next step."""
    folder.root.mkdir(parents=True, exist_ok=True)
    folder.stop_flag.touch()


def read_result(folder: JobFolder) -> dict[str, Any] | None:
    """The completion record; its presence means success, whatever it says."""
    try:
        found = json.loads(folder.result.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def result_age(folder: JobFolder) -> float:
    """Seconds since the completion record was written; -1 while there is none."""
    try:
        return time.time() - folder.result.stat().st_mtime
    except FileNotFoundError:
        return -1.0
