"""A job's log: posting to it and reading it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from api.observe.metrics import Instruments
from api.schemas.base import Page
from api.schemas.events import EventBatch, EventReceipt, Metrics, SampleSet, StepPoint
from api.service.caller import Caller
from api.service.faults import BadParameter, NotFound, WrongCredentials
from api.service.ingest import take_in
from api.service.owned import own_job
from api.service.secret import digest
from api.service.signals import Signals
from api.store.database import Database
from api.store.events import (
    CONTROL,
    events_after,
    events_of_type,
    last_of_producers,
    stored_event,
)
from api.store.jobs import lock_job
from api.store.tables import AttemptRow, EventRow
from rlhf_service.events import (
    EvaluationCompleted,
    EventRecord,
    SamplesDrawn,
    StatusChanged,
    StepCompleted,
    StoredEvent,
)


class Events:
    """What the routes under `/v1/jobs/{id}/events` and `/v1/internal` call."""

    def __init__(self, database: Database, signals: Signals, metrics: Instruments) -> None:
        self.database = database
        self.signals = signals
        self.instruments = metrics

    async def attempt_of(self, job_id: str, token: str) -> int:
        """The attempt whose driver holds this token. Raises WrongCredentials."""
        holder = select(AttemptRow.number).where(
            AttemptRow.job_id == job_id, AttemptRow.token_sha256 == digest(token)
        )
        async with self.database.read() as session:
            attempt = await session.scalar(holder)
        if attempt is None:
            raise WrongCredentials("this token is not of an attempt of this job")
        return attempt

    async def post(self, job_id: str, attempt: int, batch: EventBatch) -> EventReceipt:
        """Store the events of an attempt's driver. Late ones are history."""
        for index, record in enumerate(batch.events):
            check_record(job_id, record, f"events[{index}]")
            check_attempt(attempt, record, f"events[{index}]")
        async with self.database.write() as session:
            job = await lock_job(session, job_id)
            if job is None:
                raise NotFound(f"there is no job {job_id!r}")
            accepted = await take_in(session, job, batch.events)
            await session.flush()
            producers = [record.producer for record in batch.events]
            last = await last_of_producers(session, job_id, producers)
        self.instruments.took("post", accepted, len(batch.events) - accepted)
        if accepted:
            self.signals.notify(job_id)
        if any(record.event.type == "job_stopped" for record in batch.events):
            self.signals.work.set()
        return EventReceipt(accepted=accepted, last=last)

    async def page(self, caller: Caller, job_id: str, after: int, limit: int) -> Page[StoredEvent]:
        """Up to `limit` entries with seq > `after`, in order."""
        async with self.database.read() as session:
            await own_job(session, caller, job_id)
            rows = await events_after(session, job_id, after, limit + 1)
        return Page[StoredEvent].of(
            [stored_event(row) for row in rows], limit, lambda event: str(event.seq)
        )

    async def metrics(
        self, caller: Caller, job_id: str, stage: str | None, points: int | None
    ) -> Metrics:
        """The newest report of each step: the newest attempt's, and its newest of those. `points`:
        at most so many of each stage, evenly spread, the first and the last among them.
        """
        async with self.database.read() as session:
            await own_job(session, caller, job_id)
            rows = await events_of_type(session, job_id, "step")
        stages: dict[str, dict[int, EventRow]] = {}
        for row in rows:
            if stage in (None, row.body["stage"]):
                stages.setdefault(row.body["stage"], {})[row.body["step"]] = row
        found = [
            step_point(steps[number])
            for steps in stages.values()
            for number in spread(sorted(steps), points)
        ]
        return Metrics(data=found, total=sum(map(len, stages.values())))

    async def samples(self, caller: Caller, job_id: str, after: int, limit: int) -> Page[SampleSet]:
        """Responses shown during the job, in order."""
        async with self.database.read() as session:
            await own_job(session, caller, job_id)
            kinds = ("samples", "evaluation")
            rows = await events_after(session, job_id, after, limit + 1, kinds)
        sets = [sample_set(stored_event(row)) for row in rows]
        return Page[SampleSet].of(sets, limit, lambda found: str(found.seq))


def check_record(job_id: str, record: EventRecord, where: str) -> None:
    """Refuse what a driver has no business to say. Raises BadParameter."""
    if record.job_id != job_id:
        raise BadParameter(f"is of job {record.job_id!r}, not {job_id!r}", f"{where}.job_id")
    if record.producer == CONTROL or record.attempt == 0:
        raise BadParameter("only the control plane itself speaks as attempt 0", f"{where}.attempt")
    if isinstance(record.event, StatusChanged):
        raise BadParameter("the status is the control plane's to say", f"{where}.event.type")


def check_attempt(attempt: int, record: EventRecord, where: str) -> None:
    """Refuse what another attempt has to say. Raises BadParameter."""
    if record.attempt != attempt:
        raise BadParameter(f"this token is of attempt {attempt}", f"{where}.attempt")
    if not record.producer.startswith(f"a{attempt}-"):
        raise BadParameter(f"must begin with 'a{attempt}-'", f"{where}.producer")


def spread(numbers: Sequence[int], most: int | None) -> Sequence[int]:
    """At most `most` of the numbers, evenly spread, the first and the last among them."""
    if most is None or len(numbers) <= most:
        return numbers
    last = len(numbers) - 1
    return [numbers[round(place * last / (most - 1))] for place in range(most)]


def step_point(row: EventRow) -> StepPoint:
    event = stored_event(row).event
    assert isinstance(event, StepCompleted)
    return StepPoint(
        stage=event.stage,
        step=event.step,
        steps=event.steps,
        replayed=event.replayed,
        created_at=row.created_at,
        report=event.report,
    )


def sample_set(stored: StoredEvent) -> SampleSet:
    event = stored.event
    assert isinstance(event, SamplesDrawn | EvaluationCompleted)
    return SampleSet(
        seq=stored.seq,
        stage=event.stage,
        step=event.step,
        kind=event.type,
        created_at=stored.created_at,
        mean=event.mean if isinstance(event, EvaluationCompleted) else None,
        samples=event.samples,
    )
