"""Plans of jobs: before they are submitted, and beside what they took."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from api.schemas.plans import PlanView
from api.service.admission import check_paths
from api.service.caller import Caller
from api.service.faults import BadParameter, Conflict, NotFound
from api.service.measured import read_actual
from api.service.owned import check_own
from api.service.territory import Territory
from api.settings import Settings
from api.store.database import Database
from api.store.tables import JobRow, PlanRow
from api.store.types import now
from rlhf_service.errors import StorageError
from rlhf_service.planning.actual import Actual, misses
from rlhf_service.planning.catalogue import GPUS, gpu_profile
from rlhf_service.planning.device import read_profile
from rlhf_service.planning.parts import Setting
from rlhf_service.planning.placement import advised
from rlhf_service.planning.plan import plan_job
from rlhf_service.planning.records import JobPlan
from rlhf_service.spec import JobSpec

log = logging.getLogger("rlhf.api")


class Plans:
    """What `/v1/jobs:plan` and `/v1/jobs/{id}/plan` call."""

    def __init__(self, database: Database, territory: Territory, settings: Settings) -> None:
        self.database = database
        self.territory = territory
        self.settings = settings

    async def plan(
        self, caller: Caller, spec: JobSpec, gpu: str | None, devices: int | None
    ) -> JobPlan:
        """With advice. Raises UserError for paths that are not the caller's to read, and Conflict for
        a device profile that cannot be used.
        """
        if gpu is not None and gpu not in GPUS:
            raise BadParameter(
                f"no GPU {gpu!r} in the catalogue; there are {', '.join(GPUS)}", "gpu"
            )
        await self.territory.check(caller, spec)

        def work() -> JobPlan:
            check_paths(spec, self.settings.roots)
            try:
                setting = setting_of(self.settings, gpu)
            except StorageError as fault:
                raise Conflict(str(fault)) from None
            cores = setting.host.cores if setting.host else 1
            return advised(spec, setting, devices or (8 if spec.resources.on_gpu else cores))

        return await asyncio.to_thread(work)

    async def get(self, caller: Caller, job_id: str) -> PlanView:
        """A job's plan as it was accepted, and what was measured since."""
        async with self.database.read() as session:
            await check_own(session, caller, job_id)
            row = await session.get(PlanRow, job_id)
            if row is None:
                raise NotFound(f"job {job_id} was accepted without a plan")
            actual = await read_actual(session, job_id)
        if not actual.stages and not actual.memory and row.actual is not None:
            actual = Actual.model_validate(row.actual)  # its log is gone by now
        plan = JobPlan.model_validate(row.plan)
        return PlanView(
            job_id=job_id,
            created_at=row.created_at,
            plan=plan,
            actual=actual,
            errors=misses(plan, actual),
        )


def setting_of(settings: Settings, gpu: str | None = None) -> Setting:
    """Where jobs run, as far as it is known: a GPU that is asked for goes before one that was measured,
    and that before the cluster's of the catalogue. Raises StorageError for a broken profile.
    """
    known = Setting.of(read_profile(path) for path in (settings.profile, settings.gpu_profile))
    name = gpu or (settings.gpu if known.gpu is None else "")
    return replace(known, gpu=gpu_profile(name)) if name else known


def plan_quietly(spec: JobSpec, settings: Settings) -> JobPlan | None:
    """For a job that is accepted in any case; its files are the caller's to read."""
    try:
        return plan_job(spec, setting_of(settings))
    except StorageError as fault:
        log.warning("a job is accepted without a plan: %s", fault)
    except Exception:
        log.exception("a job is accepted without a plan")
    return None


def plan_row(job: JobRow, plan: JobPlan) -> PlanRow:
    return PlanRow(job_id=job.id, plan=plan.model_dump(mode="json"), created_at=now())
