"""Rows of uploads in parts: find, list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from api.store.tables import UploadPartRow, UploadRow

PENDING = "pending"


async def find_upload(
    session: AsyncSession, tenant: str, upload_id: str, *, lock: bool = False
) -> UploadRow | None:
    """The tenant's upload; with `lock`, unchanged by anyone else until the transaction ends."""
    query = select(UploadRow).where(UploadRow.id == upload_id, UploadRow.tenant == tenant)
    return await session.scalar(query.with_for_update() if lock else query)


async def parts_of(session: AsyncSession, upload_id: str) -> Sequence[UploadPartRow]:
    """Parts that have come, in the order of their coming."""
    query = select(UploadPartRow).where(UploadPartRow.upload_id == upload_id)
    return list(await session.scalars(query.order_by(UploadPartRow.number)))


async def overdue_uploads(session: AsyncSession, moment: datetime) -> Sequence[UploadRow]:
    """Uploads that nobody completed in time."""
    query = select(UploadRow).where(UploadRow.status == PENDING, UploadRow.expires_at < moment)
    return list(await session.scalars(query.limit(100).with_for_update()))
