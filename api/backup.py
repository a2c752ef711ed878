"""Back up what the control plane keeps, while it runs, and put it back elsewhere.

    python -m api.backup create FILE.tar
    python -m api.backup restore FILE.tar

Settings say what and where: RLHF_STORAGE, RLHF_DATABASE_URL. The database is copied first and the files
after it, so every model that the database knows of is there; files newer than the database do no
harm. A PostgreSQL database has better tools: it is left to pg_dump, and only the files are archived.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

from api.settings import Settings

DATABASE = "control/control.db"
"""Where the archive, and a control plane by default, has its SQLite file."""

LEFT_OUT = frozenset({"ray_train"})
"""Folders of jobs that nothing is read from again."""


class BackupFailed(Exception):
    """Nothing, or not everything, was done; the message says what to do."""


def create(settings: Settings, target: Path) -> int:
    """Write the archive; it appears under its name when it is whole. Returns how many files it has."""
    if not settings.storage.is_dir():
        raise BackupFailed(f"there is no storage at {settings.storage}; set RLHF_STORAGE")
    if target.resolve().is_relative_to(settings.storage):
        raise BackupFailed(f"{target} lies in the storage itself; write it elsewhere")
    partial = target.with_name(target.name + ".partial")
    files = 0
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(partial, "w") as archive:
        if (database := sqlite_file(settings)) is not None:
            copy = Path(scratch) / "control.db"
            with (
                closing(sqlite3.connect(database)) as live,
                closing(sqlite3.connect(copy)) as still,
            ):
                live.backup(still)
            archive.add(copy, DATABASE)
        for path in kept_files(settings.storage):
            try:
                read = path.open("rb")
            except FileNotFoundError:
                continue  # a checkpoint that a newer one replaced meanwhile
            with read:
                member = archive.gettarinfo(path, str(path.relative_to(settings.storage)), read)
                archive.addfile(member, read if member.isreg() else None)
            files += 1
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(target)
    return files


def restore(settings: Settings, archive: Path) -> None:
    """Unpack into an empty storage."""
    storage = settings.storage
    if storage.exists() and any(storage.iterdir()):
        raise BackupFailed(f"{storage} is not empty; restore into a new folder, or empty it first")
    if sqlite_file(settings, must_exist=False) is None:
        print("files only: restore the PostgreSQL database with pg_restore, before the start")
    try:
        with tarfile.open(archive) as packed:
            members = confined(packed)
            storage.mkdir(parents=True, exist_ok=True)
            packed.extractall(storage, members)
    except (OSError, tarfile.TarError) as fault:
        left = f"; empty {storage} before another try" if storage.exists() else ""
        raise BackupFailed(f"{archive} could not be unpacked: {fault}{left}") from None
    wanted, unpacked = sqlite_file(settings, must_exist=False), storage / DATABASE
    if wanted is not None and wanted != unpacked and unpacked.exists():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        unpacked.replace(wanted)


def confined(packed: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Its files, as this user's own. Raises TarError for anything that a backup has not: a symbolic
    link, a device, a path that leads out. (Python has filters for that, but not yet in Debian's 3.11.2.)
    """
    members = packed.getmembers()
    files: set[str] = set()
    for member in members:
        path = PurePosixPath(member.name)
        # A job that goes on from another shares files with it.
        known = member.isfile() or member.isdir() or (member.islnk() and member.linkname in files)
        if not known or path.is_absolute() or ".." in path.parts:
            raise tarfile.TarError(f"{member.name} is no file of a backup")
        files.add(member.name)
        member.mode &= 0o755
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
    if hasattr(tarfile, "data_filter"):
        packed.extraction_filter = tarfile.data_filter
    return members


def sqlite_file(settings: Settings, must_exist: bool = True) -> Path | None:
    """The SQLite file; None for another database."""
    scheme, _, rest = settings.database.partition(":///")
    if not scheme.startswith("sqlite"):
        return None
    path = Path(rest)
    if must_exist and not path.exists():
        raise BackupFailed(f"there is no database at {path}; set RLHF_DATABASE_URL")
    return path


def kept_files(storage: Path) -> Iterator[Path]:
    """Every file below it but the live database and what is being written."""
    for folder, folders, names in os.walk(storage):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        for name in sorted(names):
            path = Path(folder) / name
            live = path.relative_to(storage).as_posix().startswith(DATABASE)
            own = path.is_file() and not path.is_symlink()
            if own and not live and not name.endswith((".tmp", ".partial")):
                yield path


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m api.backup", description="Back up and restore."
    )
    parser.add_argument("verb", choices=("create", "restore"))
    parser.add_argument("archive", type=Path, help="the archive, a tar file")
    given = parser.parse_args()
    settings = Settings()
    try:
        if given.verb == "create":
            files = create(settings, given.archive)
            print(f"{given.archive}: {files} files, {given.archive.stat().st_size / 2**20:.1f} MiB")
            if sqlite_file(settings) is None:
                print("without the database: back it up with pg_dump, before the files")
        else:
            restore(settings, given.archive)
            print(f"restored to {settings.storage}")
    except BackupFailed as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
