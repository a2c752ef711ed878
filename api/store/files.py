"""Rows of uploaded files: find, list."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.store.tables import FileRow


async def find_file(
    session: AsyncSession, tenant: str, file_id: str, *, lock: bool = False
) -> FileRow | None:
    """The tenant's file; with `lock`, nobody deletes it until the transaction ends."""
    query = select(FileRow).where(FileRow.id == file_id, FileRow.tenant == tenant)
    return await session.scalar(query.with_for_update() if lock else query)


async def page_files(
    session: AsyncSession,
    tenant: str,
    *,
    after: int | None,
    limit: int,
    newest_first: bool,
    purpose: str | None,
) -> list[FileRow]:
    """A tenant's: up to `limit` files behind file number `after`, in the order of their upload or
    against it.
    """
    number = FileRow.number
    query = select(FileRow).where(FileRow.tenant == tenant)
    query = query.order_by(number.desc() if newest_first else number).limit(limit)
    if after is not None:
        query = query.where(number < after if newest_first else number > after)
    if purpose is not None:
        query = query.where(FileRow.purpose == purpose)
    return list(await session.scalars(query))
