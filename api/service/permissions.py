"""Permissions: a tenant's checkpoints that other tenants may chat with."""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from api.openai.names import checkpoint_of, job_of
from api.openai.objects import Deleted, unix
from api.schemas.base import Page
from api.schemas.permissions import PermissionView
from api.service.caller import Caller
from api.service.faults import BadParameter, NotFound
from api.service.models import Models, missing
from api.service.owned import own_job_or_none
from api.store.database import Database
from api.store.permission_tables import PermissionRow
from api.store.tables import JobRow
from api.store.types import now
from rlhf_service.manifest import checkpoint_name


class Permissions:
    """What the routes under `/v1/fine_tuning/checkpoints` call, and chats with others' models."""

    def __init__(self, database: Database, models: Models) -> None:
        self.database = database
        self.models = models

    async def folder(self, caller: Caller, model_id: str) -> Path | None:
        """Where another tenant's model lies that the caller may use; None when there is none."""
        job_id, checkpoint = named(model_id)
        query = select(JobRow).join(PermissionRow, PermissionRow.job_id == JobRow.id)
        query = query.where(PermissionRow.checkpoint == checkpoint, JobRow.id == job_id)
        async with self.database.read() as session:
            job = await session.scalar(query.where(PermissionRow.tenant == caller.tenant))
        return None if job is None else await self.models.saved_folder(job, checkpoint)

    async def create(
        self, caller: Caller, model_id: str, tenants: list[str]
    ) -> Page[PermissionView]:
        """Let those tenants use the model; one that may already keeps its permission."""
        await self.models.get(caller, model_id)  # it is there, and it is the caller's
        job_id, checkpoint = named(model_id)
        rows: list[PermissionRow] = []
        async with self.database.write() as session:
            await self.database.serialize(session, f"permissions {job_id}")
            await self._own(session, caller, model_id)
            for tenant in dict.fromkeys(tenants):
                query = granted(job_id, checkpoint).where(PermissionRow.tenant == tenant)
                row = await session.scalar(query)
                if row is None:
                    row = PermissionRow(
                        id=f"cp_{secrets.token_hex(12)}",
                        job_id=job_id,
                        checkpoint=checkpoint,
                        tenant=tenant,
                        created_at=now(),
                    )
                    session.add(row)
                    await session.flush()
                rows.append(row)
        return Page[PermissionView].of([view(row) for row in rows], len(rows), lambda one: one.id)

    async def page(
        self,
        caller: Caller,
        model_id: str,
        *,
        after: str | None,
        limit: int,
        newest_first: bool,
        tenant: str | None,
    ) -> Page[PermissionView]:
        async with self.database.read() as session:
            query = granted(*await self._own(session, caller, model_id))
            if after is not None:
                cursor = await session.scalar(query.where(PermissionRow.id == after))
                if cursor is None:
                    raise BadParameter(f"there is no permission {after!r} to list after", "after")
                number = PermissionRow.number
                query = query.where(
                    number < cursor.number if newest_first else number > cursor.number
                )
            if tenant is not None:
                query = query.where(PermissionRow.tenant == tenant)
            order = PermissionRow.number.desc() if newest_first else PermissionRow.number
            rows = await session.scalars(query.order_by(order).limit(limit + 1))
            views = [view(row) for row in rows]
        return Page[PermissionView].of(views, limit, lambda one: one.id)

    async def delete(self, caller: Caller, model_id: str, permission_id: str) -> Deleted:
        """From now on the tenant may not; an answer under way is finished."""
        async with self.database.write() as session:
            query = granted(*await self._own(session, caller, model_id))
            row = await session.scalar(query.where(PermissionRow.id == permission_id))
            if row is None:
                raise NotFound(f"there is no permission {permission_id!r}", "permission_id")
            await session.delete(row)
        return Deleted(id=permission_id, object="checkpoint.permission")

    async def _own(self, session: AsyncSession, caller: Caller, model_id: str) -> tuple[str, str]:
        """Job and checkpoint, of a model whose job is the caller's; it may be gone by now."""
        job_id, checkpoint = named(model_id)
        if await own_job_or_none(session, caller, job_id) is None:
            raise missing(model_id)
        return job_id, checkpoint


def named(model_id: str) -> tuple[str, str]:
    """The job and the checkpoint that a name means; an empty one means the finished model."""
    saved = checkpoint_of(model_id)
    return (
        (job_of(model_id), "") if saved is None else (job_of(saved[0]), checkpoint_name(*saved[1:]))
    )


def granted(job_id: str, checkpoint: str) -> Select[PermissionRow]:
    query = select(PermissionRow).where(PermissionRow.job_id == job_id)
    return query.where(PermissionRow.checkpoint == checkpoint)


def view(row: PermissionRow) -> PermissionView:
    return PermissionView(id=row.id, created_at=unix(row.created_at), project_id=row.tenant)
