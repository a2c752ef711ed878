"""Models: what finished jobs leave behind."""

from __future__ import annotations

from api.schemas import ModelView, Page, StageModelView
from api.service.faults import BadParameter, NotFound
from api.settings import Settings
from api.store.database import Database
from api.store.jobs import find_job, page_jobs
from api.store.tables import JobRow
from rlhf_service.job import JobStatus
from rlhf_service.spec import JobSpec


class Models:
    """What the routes under `/v1/models` call."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings

    async def page(self, after: str | None, limit: int) -> Page[ModelView]:
        """Newest first."""
        async with self.database.read() as session:
            cursor = None if after is None else await find_job(session, after)
            if after is not None and cursor is None:
                raise BadParameter(f"there is no model {after!r} to list after", "after")
            jobs = await page_jobs(
                session,
                before=None if cursor is None else cursor.number,
                limit=limit + 1,
                statuses=[JobStatus.SUCCEEDED],
                labels={},
            )
        views = [self._view(job) for job in jobs]
        return Page[ModelView].of(views, limit, lambda model: model.id)

    async def get(self, model_id: str) -> ModelView:
        async with self.database.read() as session:
            job = await find_job(session, model_id)
        if job is None or job.status != JobStatus.SUCCEEDED:
            raise NotFound(
                f"there is no model {model_id!r}; a job's model appears once it succeeded"
            )
        return self._view(job)

    def _view(self, job: JobRow) -> ModelView:
        folder = self.settings.folder(job.id)
        stages = JobSpec.model_validate(job.spec).stages
        return ModelView(
            id=job.id,
            name=job.name,
            path=str(folder.model),
            created_at=job.finished_at or job.updated_at,
            stages=[
                StageModelView(
                    stage=stage.name, type=stage.type, path=str(folder.stage_model(stage.name))
                )
                for stage in stages
            ],
        )
