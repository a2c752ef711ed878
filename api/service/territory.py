"""Which paths below the storage are whose: a job reads its tenant's files and folders only."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from api.service.admission import Named, outside, paths_of
from api.service.caller import Caller
from api.settings import Settings
from api.store.database import Database
from api.store.tables import FileRow, JobRow
from rlhf_service.errors import DataError, ModelError
from rlhf_service.spec import JobSpec

UPLOAD = re.compile(r"file-[0-9a-f]{24}")
"""An uploaded file's id, with which its name and those of its conversions begin."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A path of a specification that belongs to somebody."""

    field: str
    path: str
    kind: type[DataError] | type[ModelError]
    owner: type[JobRow] | type[FileRow]
    id: str


class Territory:
    """Looks at a specification's paths before anything reads them."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings

    async def check(self, caller: Caller, spec: JobSpec) -> None:
        """Raises DataError or ModelError. What is another's is refused as what is not there."""
        await self.check_paths(caller, paths_of(spec))

    async def check_paths(self, caller: Caller, paths: Iterable[Named]) -> None:
        """The same for paths by themselves."""
        claims = await asyncio.to_thread(lambda: list(self._claims(paths)))
        async with self.database.read() as session:
            for claim in claims:
                owner = select(claim.owner.tenant).where(claim.owner.id == claim.id)
                if await session.scalar(owner) != caller.tenant:
                    noun = "file" if claim.kind is DataError else "folder"
                    raise claim.kind(
                        f"no {noun} {claim.path}; give the path of one that the cluster can read",
                        claim.field,
                    )

    def _claims(self, paths: Iterable[Named]) -> Iterator[Claim]:
        storage = Path(os.path.realpath(self.settings.storage))
        jobs, uploads = storage / "jobs", storage / "data" / "files"
        for field, path, kind in paths:
            real = Path(os.path.realpath(path))
            if not os.path.isabs(path):
                continue  # refused for that
            if jobs in real.parents:
                yield Claim(field, path, kind, JobRow, real.relative_to(jobs).parts[0])
            elif uploads in real.parents:
                found = UPLOAD.match(real.relative_to(uploads).parts[0])
                yield Claim(field, path, kind, FileRow, found[0] if found else "")
            elif real in (storage, *storage.parents, jobs, uploads, uploads.parent) or (
                storage in real.parents and uploads.parent not in real.parents
            ):
                # Folders of everybody's things, and the control plane's own; a root around the
                # storage does not open them.
                raise kind(outside(path, self.settings.roots), field)
