"""Uploaded files: kept in storage, where jobs may read them, and listed in the database."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import select

from api.openai.objects import PURPOSE, Deleted, FileObject, unix
from api.openai.upload import Form, receive
from api.schemas.base import Page
from api.schemas.checks import BadRowView, FileReport, FitView
from api.service.admission import paths_of
from api.service.caller import Caller
from api.service.faults import BadParameter, Conflict, NotFound
from api.settings import Settings
from api.store.database import Database
from api.store.files import find_file, page_files
from api.store.tables import FileRow, JobRow
from api.store.types import now
from rlhf_service.data.fit import Fit, fits
from rlhf_service.data.rows import MOST_FAULTS
from rlhf_service.data.sources import BadRow, json_object
from rlhf_service.errors import DataError
from rlhf_service.job import TERMINAL
from rlhf_service.spec import DataSpec, JobSpec

MAX_LINE = 16 * 2**20
"""Bytes of one row."""


class Files:
    """What the routes under `/v1/files` call."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings

    async def keep(
        self, caller: Caller, body: AsyncIterator[bytes], content_type: str | None
    ) -> FileObject:
        """Store an upload. Raises a Fault or a DataError, and keeps nothing then."""
        file_id = f"file-{secrets.token_hex(12)}"
        path = self.path(file_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("xb") as out:
                form = await receive(body, content_type, out, self.settings.max_file_bytes)
                out.flush()
                await asyncio.to_thread(os.fsync, out.fileno())
            check_fields(form.fields)
            rows = await asyncio.to_thread(count_rows, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        row = file_row(caller, file_id, form, rows)
        async with self.database.write() as session:
            session.add(row)
        return self.view(row)

    async def get(self, caller: Caller, file_id: str) -> FileObject:
        async with self.database.read() as session:
            row = await find_file(session, caller.tenant, file_id)
        if row is None:
            raise NotFound(f"there is no file {file_id!r}", "file_id")
        return self.view(row)

    async def report(self, caller: Caller, file_id: str) -> FileReport:
        """What each kind of stage makes of it."""
        file = await self.get(caller, file_id)
        found = await asyncio.to_thread(fits, DataSpec(path=str(self.path(file.id))))
        return FileReport(id=file.id, fits=[fit_view(fit, file.filename) for fit in found])

    async def page(
        self,
        caller: Caller,
        after: str | None,
        limit: int,
        newest_first: bool,
        purpose: str | None,
    ) -> Page[FileObject]:
        async with self.database.read() as session:
            cursor = None if after is None else await find_file(session, caller.tenant, after)
            if after is not None and cursor is None:
                raise BadParameter(f"there is no file {after!r} to list after", "after")
            rows = await page_files(
                session,
                caller.tenant,
                after=None if cursor is None else cursor.number,
                limit=limit + 1,
                newest_first=newest_first,
                purpose=purpose,
            )
        return Page[FileObject].of([self.view(row) for row in rows], limit, lambda file: file.id)

    async def delete(self, caller: Caller, file_id: str) -> Deleted:
        """Raises Conflict while a job that has not ended reads it."""
        async with self.database.write() as session:
            row = await find_file(session, caller.tenant, file_id, lock=True)
            if row is None:
                raise NotFound(f"there is no file {file_id!r}", "file_id")
            alive = select(JobRow).where(JobRow.status.not_in(sorted(TERMINAL)))
            for job in await session.scalars(alive):
                if reads(job, self.path(file_id).parent / file_id):
                    raise Conflict(f"job {job.id} reads this file; cancel it or wait for its end")
            await session.delete(row)
        for path in self.settings.uploads.glob(f"{row.id}*"):
            path.unlink(missing_ok=True)
        return Deleted(id=file_id, object="file")

    def path(self, file_id: str) -> Path:
        """Where the file's bytes lie."""
        return self.settings.uploads / f"{file_id}.jsonl"

    def view(self, row: FileRow) -> FileObject:
        return FileObject(
            id=row.id,
            bytes=row.bytes,
            created_at=unix(row.created_at),
            filename=row.filename,
            purpose=row.purpose,
            sha256=row.sha256,
            rows=row.rows,
            path=str(self.path(row.id)),
        )


def fit_view(fit: Fit, filename: str) -> FitView:
    return FitView(
        stages=fit.stages,
        readable=fit.fault is None,
        rows=fit.rows,
        median_length=fit.median_length,
        longest=fit.longest,
        fault=fit.fault and re.sub(r"\S*/file-[0-9a-f]{24}\.jsonl", lambda _: filename, fit.fault),
        bad_rows=[BadRowView(place=place, message=message) for place, message in fit.bad_rows],
    )


def check_fields(fields: dict[str, str]) -> None:
    """Raises BadParameter for what is missing or cannot be done."""
    if "purpose" not in fields:
        raise BadParameter(f"is required; send {PURPOSE!r}", "purpose")
    if fields["purpose"] != PURPOSE:
        raise BadParameter(f"only {PURPOSE!r} is served, not {fields['purpose']!r}", "purpose")
    for name in fields:
        if name != "purpose":
            raise BadParameter("there is no such field; drop it", name)


def count_rows(path: Path) -> int:
    """Rows of a JSON Lines file. Raises DataError naming the first bad lines."""
    rows = 0
    faults: list[str] = []
    with path.open("rb") as lines:
        for number in range(1, 2**62):
            line = lines.readline(MAX_LINE + 1)
            if not line or len(faults) == MOST_FAULTS:
                break
            if len(line) > MAX_LINE:
                faults.append(f"line {number}: longer than {MAX_LINE} bytes")
                break
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as fault:
                faults.append(f"line {number}: not UTF-8 ({fault.reason})")
                continue
            if not text.strip():
                continue
            item = json_object(text)
            if isinstance(item, BadRow):
                faults.append(f"line {number}: {item}")
            rows += 1
    if faults:
        raise DataError(f"every line must be a JSON object: {'; '.join(faults)}", "file")
    if not rows:
        raise DataError("the file has no rows; add at least one", "file")
    return rows


def file_row(caller: Caller, file_id: str, form: Form, rows: int) -> FileRow:
    return FileRow(
        id=file_id,
        tenant=caller.tenant,
        filename=form.filename,
        purpose=PURPOSE,
        bytes=form.size,
        sha256=form.sha256,
        rows=rows,
        created_at=now(),
    )


def reads(job: JobRow, stem: Path) -> bool:
    """Whether a job names a file whose path begins with `stem`."""
    spec = JobSpec.model_validate(job.spec)
    start = os.path.realpath(stem)
    return any(os.path.realpath(path).startswith(start) for _, path, _ in paths_of(spec))
