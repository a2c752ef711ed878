"""Files that come in parts: each part may be sent again until the whole is completed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

from api.openai.objects import unix
from api.openai.upload import receive
from api.openai.upload_objects import CompleteUpload, CreateUpload, UploadObject, UploadPart
from api.service.caller import Caller
from api.service.faults import BadParameter, Conflict, NotFound, TooLarge
from api.service.files import Files, count_rows
from api.settings import Settings
from api.store.database import Database
from api.store.files import find_file
from api.store.tables import FileRow, UploadPartRow, UploadRow
from api.store.types import now
from api.store.uploads import PENDING, find_upload, overdue_uploads, parts_of

MAX_PART = 64 * 2**20
"""Bytes of one part."""
MAX_PARTS = 10_000
LIFETIME = timedelta(hours=1)
"""From an upload's beginning to when it must be completed."""


class Uploads:
    """What the routes under `/v1/uploads` call."""

    def __init__(self, database: Database, files: Files, settings: Settings) -> None:
        self.database = database
        self.files = files
        self.settings = settings

    async def create(self, caller: Caller, asked: CreateUpload) -> UploadObject:
        if asked.bytes > self.settings.max_file_bytes:
            raise BadParameter(
                f"bytes: {asked.bytes} are more than the {self.settings.max_file_bytes} that are taken",
                "bytes",
            )
        moment = now()
        row = UploadRow(
            id=f"upload_{secrets.token_hex(12)}",
            tenant=caller.tenant,
            filename=Path(asked.filename.replace("\\", "/")).name or "file",
            purpose=asked.purpose,
            bytes=asked.bytes,
            status=PENDING,
            created_at=moment,
            expires_at=moment + LIFETIME,
        )
        async with self.database.write() as session:
            session.add(row)
        return view(row, None, self.files)

    async def get(self, caller: Caller, upload_id: str) -> UploadObject:
        async with self.database.read() as session:
            row = await find_upload(session, caller.tenant, upload_id)
            if row is None:
                raise missing(upload_id)
            return view(row, await self._file(session, row), self.files)

    async def parts(self, caller: Caller, upload_id: str) -> list[UploadPart]:
        """What has come so far, so that a broken upload can go on."""
        async with self.database.read() as session:
            if await find_upload(session, caller.tenant, upload_id) is None:
                raise missing(upload_id)
            return [part_view(part) for part in await parts_of(session, upload_id)]

    async def add(
        self, caller: Caller, upload_id: str, body: AsyncIterator[bytes], content_type: str | None
    ) -> UploadPart:
        """Store a part. Nothing is kept of one that breaks off."""
        async with self.database.read() as session:
            pending(await find_upload(session, caller.tenant, upload_id), upload_id)
        part_id = f"part_{secrets.token_hex(12)}"
        path = self._folder(upload_id) / part_id
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = False
        try:
            with path.open("xb") as out:
                form = await receive(body, content_type, out, MAX_PART, field="data")
                out.flush()
                await asyncio.to_thread(os.fsync, out.fileno())
            if form.fields:
                name = next(iter(form.fields))
                raise BadParameter("there is no such field; drop it", name)
            async with self.database.write() as session:
                row = await find_upload(session, caller.tenant, upload_id, lock=True)
                row = pending(row, upload_id)
                before = await parts_of(session, upload_id)
                if len(before) >= MAX_PARTS:
                    raise TooLarge(f"the upload has {MAX_PARTS} parts; send larger ones", "data")
                # A part that was sent twice counts twice here; nobody needs more than that.
                if sum(part.bytes for part in before) + form.size > 2 * row.bytes + MAX_PART:
                    raise TooLarge("the parts have more bytes than were announced", "data")
                part = UploadPartRow(
                    id=part_id,
                    upload_id=upload_id,
                    number=len(before) + 1,
                    bytes=form.size,
                    sha256=form.sha256,
                    created_at=now(),
                )
                session.add(part)
            kept = True
        finally:
            if not kept:
                path.unlink(missing_ok=True)
        return part_view(part)

    async def complete(self, caller: Caller, upload_id: str, asked: CompleteUpload) -> UploadObject:
        """Make the file of its parts. Asking again answers with the same file."""
        async with self.database.read() as session:
            row = await find_upload(session, caller.tenant, upload_id)
            if row is not None and row.status == "completed" and row.file_id is not None:
                return view(row, await self._file(session, row), self.files)
            row = pending(row, upload_id)
            known = {part.id: part for part in await parts_of(session, upload_id)}
        chosen = chosen_parts(asked.part_ids, known)
        size = sum(part.bytes for part in chosen)
        if size != row.bytes:
            raise BadParameter(
                f"part_ids: the parts have {size} bytes, the upload was announced with {row.bytes}",
                "part_ids",
            )
        file_id = f"file-{secrets.token_hex(12)}"
        path = self.files.path(file_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        sources = [self._folder(upload_id) / part.id for part in chosen]
        try:
            sha256, md5 = await asyncio.to_thread(join, sources, partial)
            if asked.md5 is not None and asked.md5.lower() != md5:
                raise BadParameter(f"md5: the file's is {md5}", "md5")
            rows = await asyncio.to_thread(count_rows, partial)
            file = FileRow(
                id=file_id,
                tenant=caller.tenant,
                filename=row.filename,
                purpose=row.purpose,
                bytes=size,
                sha256=sha256,
                rows=rows,
                created_at=now(),
            )
            async with self.database.write() as session:
                stored = await find_upload(session, caller.tenant, upload_id, lock=True)
                stored = pending(stored, upload_id)
                stored.status, stored.file_id = "completed", file_id
                session.add(file)
                # The bytes are in place before anyone can be told of the file.
                partial.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            partial.unlink(missing_ok=True)
        await self._clear(upload_id)
        return view(stored, file, self.files)

    async def cancel(self, caller: Caller, upload_id: str) -> UploadObject:
        """Drop its parts. Asking again changes nothing."""
        async with self.database.write() as session:
            row = await find_upload(session, caller.tenant, upload_id, lock=True)
            if row is None or row.status != "cancelled":
                row = pending(row, upload_id)
                row.status = "cancelled"
        await self._clear(upload_id)
        return view(row, None, self.files)

    async def expire(self) -> int:
        """Give up uploads that nobody completed in time. Returns how many."""
        async with self.database.write() as session:
            late = await overdue_uploads(session, now())
            for row in late:
                row.status = "expired"
        for row in late:
            await self._clear(row.id)
        return len(late)

    async def _clear(self, upload_id: str) -> None:
        await asyncio.to_thread(shutil.rmtree, self._folder(upload_id), True)

    def _folder(self, upload_id: str) -> Path:
        """Where the parts lie; jobs may not read them."""
        return self.settings.control / "uploads" / upload_id

    async def _file(self, session, row: UploadRow) -> FileRow | None:  # type: ignore[no-untyped-def]
        if row.file_id is None:
            return None
        return await find_file(session, row.tenant, row.file_id)


def join(sources: Sequence[Path], target: Path) -> tuple[str, str]:
    """Write the files one behind the other; SHA-256 and MD5 of the whole."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with target.open("xb") as out:
        for source in sources:
            with source.open("rb") as part:
                while piece := part.read(2**20):
                    out.write(piece)
                    sha256.update(piece)
                    md5.update(piece)
        out.flush()
        os.fsync(out.fileno())
    return sha256.hexdigest(), md5.hexdigest()


def chosen_parts(part_ids: Sequence[str], known: dict[str, UploadPartRow]) -> list[UploadPartRow]:
    """The parts in the order asked for. Raises BadParameter."""
    for place, part_id in enumerate(part_ids):
        if part_id not in known:
            raise BadParameter(
                f"part_ids[{place}]: {part_id!r} is no part of this upload", f"part_ids[{place}]"
            )
    if len(set(part_ids)) < len(part_ids):
        raise BadParameter("part_ids: names a part twice", "part_ids")
    return [known[part_id] for part_id in part_ids]


def status_of(row: UploadRow) -> str:
    """Its status, also between its expiry and when that is noted."""
    return "expired" if row.status == PENDING and row.expires_at < now() else row.status


def pending(row: UploadRow | None, upload_id: str) -> UploadRow:
    """The upload, when it still takes parts. Raises NotFound or Conflict."""
    if row is None:
        raise missing(upload_id)
    if (status := status_of(row)) != PENDING:
        raise Conflict(f"the upload is {status}; begin another one")
    return row


def missing(upload_id: str) -> NotFound:
    return NotFound(f"there is no upload {upload_id!r}", "upload_id")


def view(row: UploadRow, file: FileRow | None, files: Files) -> UploadObject:
    return UploadObject.model_validate(
        {
            "id": row.id,
            "bytes": row.bytes,
            "created_at": unix(row.created_at),
            "expires_at": unix(row.expires_at),
            "filename": row.filename,
            "purpose": row.purpose,
            "status": status_of(row),
            "file": None if file is None else files.view(file),
        }
    )


def part_view(part: UploadPartRow) -> UploadPart:
    return UploadPart(
        id=part.id,
        created_at=unix(part.created_at),
        upload_id=part.upload_id,
        bytes=part.bytes,
        sha256=part.sha256,
    )
