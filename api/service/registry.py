"""Registered models: folders below an allowed root that a tenant gave a name."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from api.openai.objects import unix
from api.openai.transcript import transcript_of
from api.schemas.lineage import RegisterModel
from api.schemas.models import ModelView
from api.service.admission import check_path
from api.service.base_models import base_folder
from api.service.caller import Caller
from api.service.faults import Conflict
from api.service.inputs import files_in
from api.service.territory import Territory
from api.settings import Settings
from api.store.database import Database
from api.store.models import find_registered, list_registered
from api.store.tables import JobInputRow, JobRow, RegisteredModelRow
from api.store.types import now
from rlhf_service.errors import ModelError
from rlhf_service.job import TERMINAL
from rlhf_service.models.check import Use, architectures_of, check_folder


class Registry:
    """Names of folders. Their files are never touched."""

    def __init__(self, database: Database, territory: Territory, settings: Settings) -> None:
        self.database = database
        self.territory = territory
        self.settings = settings

    async def register(self, caller: Caller, asked: RegisterModel) -> ModelView:
        """Raises ModelError, or Conflict for a name that is taken."""
        check_path("path", asked.path, ModelError, self.settings.roots)
        await self.territory.check_paths(caller, [("path", asked.path, ModelError)])
        row = await asyncio.to_thread(examined, asked)
        row.tenant = caller.tenant
        taken = Conflict(f"there is a model {asked.id!r} already; choose another name", "id")
        if base_folder(self.settings, asked.id) is not None:
            raise taken
        try:
            async with self.database.write() as session:
                session.add(row)
        except IntegrityError:
            raise taken from None
        return view(row)

    async def every(self, caller: Caller) -> list[ModelView]:
        """Newest first."""
        async with self.database.read() as session:
            return [view(row) for row in await list_registered(session, caller.tenant)]

    async def find(self, caller: Caller, model_id: str) -> ModelView | None:
        async with self.database.read() as session:
            row = await find_registered(session, caller.tenant, model_id)
        return None if row is None else view(row)

    async def forget(self, caller: Caller, model_id: str) -> bool:
        """Drop the name; False when there is none. Raises Conflict while a job reads the folder."""
        async with self.database.write() as session:
            row = await find_registered(session, caller.tenant, model_id)
            if row is None:
                return False
            real = Path(os.path.realpath(row.path))
            reading = (
                select(JobRow.id, JobInputRow.path)
                .join(JobInputRow, JobInputRow.job_id == JobRow.id)
                .where(JobRow.tenant == caller.tenant, JobRow.status.not_in(sorted(TERMINAL)))
            )
            for job_id, path in await session.execute(reading):
                if Path(os.path.realpath(path)).is_relative_to(real):
                    raise Conflict(f"job {job_id} reads this model; cancel it or wait for its end")
            await session.execute(
                delete(RegisteredModelRow).where(RegisteredModelRow.number == row.number)
            )
        return True


def examined(asked: RegisterModel) -> RegisteredModelRow:
    """The folder, looked at. Raises ModelError."""
    folder = Path(os.path.realpath(asked.path))
    check_folder(folder, "path", Use.CRITIC)
    architectures = architectures_of(folder, "path")
    return RegisteredModelRow(
        id=asked.id,
        path=str(folder),
        architecture=(architectures or [""])[0][:128],
        bytes=sum(file.stat().st_size for file in files_in(folder)),
        created_at=now(),
    )


def view(row: RegisteredModelRow) -> ModelView:
    return ModelView(
        id=row.id,
        created=unix(row.created_at),
        owned_by="registered",
        name=row.id,
        path=row.path,
        created_at=row.created_at,
        stages=[],
        chat=transcript_of(Path(row.path)).learns_messages,
    )
