"""Where models come from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from api.openai.names import job_of
from api.schemas.lineage import InputView, LineageView
from api.service.caller import Caller
from api.service.models import Models, has_model
from api.service.owned import own_job_or_none
from api.service.views import parent_view
from api.store.database import Database
from api.store.models import descendants, inputs_of_job
from api.store.tables import JobInputRow
from rlhf_service.spec import JobSpec


class Lineage:
    """What `/v1/models/{id}/lineage` calls."""

    def __init__(self, database: Database, models: Models) -> None:
        self.database = database
        self.models = models

    async def get(self, caller: Caller, model_id: str) -> LineageView:
        model = await self.models.get(caller, model_id)
        async with self.database.read() as session:
            job = await own_job_or_none(session, caller, job_of(model_id))
            if job is None or not has_model(job):
                return LineageView(
                    id=model.id,
                    job_id=None,
                    name=model.name,
                    created_at=model.created_at,
                    parent=None,
                    config=None,
                    inputs=[],
                    descendants=[],
                )
            rows = await inputs_of_job(session, job.id)
            later = await descendants(session, caller.tenant, job.id)
        return LineageView(
            id=model.id,
            job_id=job.id,
            name=model.name,
            created_at=model.created_at,
            parent=parent_view(job),
            config=JobSpec.model_validate(job.spec),
            inputs=await asyncio.to_thread(views, rows),
            descendants=list(later),
        )


def views(rows: Sequence[JobInputRow]) -> list[InputView]:
    return [
        InputView.model_validate(
            {
                "field": row.field,
                "kind": row.kind,
                "path": row.path,
                "sha256": row.sha256,
                "bytes": row.bytes,
                "file_id": row.source if (row.source or "").startswith("file-") else None,
                "job_id": row.source if (row.source or "").startswith("job-") else None,
                "is_there": Path(row.path).exists(),
            }
        )
        for row in rows
    ]
