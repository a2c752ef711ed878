"""A job's checkpoints, as they lie in storage."""

from __future__ import annotations

import asyncio

from api.openai.names import checkpoint_name
from api.openai.views import figures, name_of
from api.schemas.artefacts import CheckpointView
from api.schemas.base import Page
from api.service.caller import Caller
from api.service.faults import BadParameter
from api.service.owned import own_job
from api.settings import Settings
from api.store.database import Database
from api.store.fine_tunes import events_before, reports_at
from api.store.tables import FineTuneRow, JobRow
from rlhf_service.manifest import Listed, list_checkpoints
from rlhf_service.reports import StepReport


class Checkpoints:
    """What the route `/v1/jobs/{id}/checkpoints` calls."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings

    async def page(
        self, caller: Caller, job_id: str, after: str | None, limit: int
    ) -> Page[CheckpointView]:
        """Newest first. Those that were deleted to make room are not among them."""
        root = self.settings.folder(job_id).checkpoints
        async with self.database.read() as session:
            job = await own_job(session, caller, job_id)
            tune = await session.get(FineTuneRow, job_id)
        found = await asyncio.to_thread(lambda: list(list_checkpoints(root)))
        async with self.database.read() as session:
            # The newest lie there; some were told twice, by attempts that repeated their steps.
            told = await events_before(session, job_id, None, 2 * len(found) + 8, ("checkpoint",))
            reports = await reports_at(session, job_id, told)
        names = [item.name for item in found]
        if after is not None:
            if after not in names:
                raise BadParameter(f"there is no checkpoint {after!r} to list after", "after")
            found = found[names.index(after) + 1 :]
        views = [view(job, tune, item, reports) for item in found[: limit + 1]]
        return Page[CheckpointView].of(views, limit, lambda item: item.id)


def view(
    job: JobRow,
    tune: FineTuneRow | None,
    found: Listed,
    reports: dict[tuple[str, int], StepReport],
) -> CheckpointView:
    report = reports.get((found.stage, found.step))
    return CheckpointView(
        id=found.name,
        job_id=job.id,
        stage=found.stage,
        step=found.step,
        created_at=found.saved_at,
        bytes=found.bytes,
        files=found.files,
        valid=found.fault is None,
        fault=found.fault,
        metrics={} if report is None else figures(report),
        model=model_of(job, tune, found),
    )


def model_of(job: JobRow, tune: FineTuneRow | None, found: Listed) -> str | None:
    """The name under which it is a model; None for a reward model's, or one that is not whole."""
    kinds = {stage["name"]: stage["type"] for stage in job.spec["stages"]}
    if found.fault is not None or kinds.get(found.stage, "reward") == "reward":
        return None
    own = job.id if tune is None else name_of(job, tune)
    return checkpoint_name(own, found.stage, found.step)
