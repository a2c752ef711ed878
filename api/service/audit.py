"""The audit log: entries are added and, when they are old enough, dropped; never changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import delete, select

from api.schemas.audit import AuditView
from api.schemas.base import Page
from api.service.caller import Caller
from api.service.faults import BadParameter
from api.settings import Settings
from api.store.database import Database
from api.store.tables import AuditRow
from api.store.types import now

TIDY_EVERY = 3600.0
"""Seconds between two looks for entries that are too old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One request that would change something, and what became of it."""

    caller: Caller
    action: str
    object_id: str | None
    method: str
    path: str
    address: str
    request_id: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries; None: any."""

    tenant: str | None = None
    caller_id: str | None = None
    action: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Audit:
    """What the route `/v1/audit` and the auditing middleware call."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self._tidied: float | None = None

    async def write(self, deed: Deed) -> None:
        async with self.database.write() as session:
            session.add(row_of(deed))
            if self._is_time_to_tidy():
                oldest = now() - timedelta(days=self.settings.audit_days)
                await session.execute(delete(AuditRow).where(AuditRow.created_at < oldest))

    async def page(
        self, caller: Caller, after: str | None, limit: int, only: AuditFilter
    ) -> Page[AuditView]:
        """Newest first: the caller's tenant's; to the operator, every tenant's."""
        query = select(AuditRow).order_by(AuditRow.number.desc()).limit(limit + 1)
        if not caller.is_operator:
            query = query.where(AuditRow.tenant == caller.tenant)
        if after is not None:
            query = query.where(AuditRow.number < number_of(after))
        for column, value in (
            (AuditRow.tenant, only.tenant),
            (AuditRow.caller_id, only.caller_id),
            (AuditRow.action, only.action),
            (AuditRow.object_id, only.object_id),
        ):
            if value is not None:
                query = query.where(column == value)
        if only.since is not None:
            query = query.where(AuditRow.created_at >= only.since)
        if only.until is not None:
            query = query.where(AuditRow.created_at < only.until)
        async with self.database.read() as session:
            views = [view(row) for row in await session.scalars(query)]
        return Page[AuditView].of(views, limit, lambda entry: entry.id)

    def _is_time_to_tidy(self) -> bool:
        moment = time.monotonic()
        if not self.settings.audit_days:
            return False
        if self._tidied is not None and moment - self._tidied < TIDY_EVERY:
            return False
        self._tidied = moment
        return True


def number_of(entry_id: str) -> int:
    number = entry_id.removeprefix("audit-")
    if not entry_id.startswith("audit-") or not number.isascii() or not number.isdigit():
        raise BadParameter(f"{entry_id!r} is no entry to list after", "after")
    return min(int(number[:18]), 2**53)


def row_of(deed: Deed) -> AuditRow:
    return AuditRow(
        created_at=now(),
        tenant=deed.caller.tenant,
        caller_id=deed.caller.id,
        caller_name=deed.caller.name[:255],
        action=deed.action[:64],
        object_id=None if deed.object_id is None else deed.object_id[:255],
        method=deed.method[:16],
        path=deed.path[:512],
        address=deed.address,
        request_id=deed.request_id,
        status=deed.status,
    )


def view(row: AuditRow) -> AuditView:
    same = {name: getattr(row, name) for name in AuditView.model_fields if hasattr(row, name)}
    return AuditView(id=f"audit-{row.number}", outcome=outcome(row.status), **same)


def outcome(status: int) -> Literal["done", "refused", "failed"]:
    if status < 400:
        return "done"
    return "refused" if status < 500 else "failed"
