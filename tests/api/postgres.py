"""A PostgreSQL server of our own on a socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def pg_program(name: str) -> str | None:
    found = shutil.which(name)
    if found is None:
        found = next((str(p) for p in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)
    return found


def installed() -> bool:
    """Whether a server can be made here."""
    return pg_program("initdb") is not None and pg_program("pg_ctl") is not None


@contextmanager
def postgres_server() -> Iterator[str]:
    """The socket folder of a running server; it refuses to run as root."""
    initdb, pg_ctl = pg_program("initdb"), pg_program("pg_ctl")
    assert initdb is not None and pg_ctl is not None, "PostgreSQL is not installed"
    folder = Path(tempfile.mkdtemp(prefix="rlhf-pg-", dir="/tmp"))
    as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if os.geteuid() != 0:
        as_other = []
    else:
        os.chown(folder, 65534, 65534)
    environment = {**os.environ, "HOME": str(folder)}

    def run(*words: str) -> None:
        subprocess.run(
            [*as_other, *words], check=True, stdout=subprocess.DEVNULL, cwd=folder, env=environment
        )

    data = str(folder / "data")
    run(initdb, "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run(pg_ctl, "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield str(folder)
    finally:
        run(pg_ctl, "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def new_database(socket: str, name: str, template: str = "template1") -> str:
    """URL of a database that is a copy of `template`: without one, empty."""
    psql = pg_program("psql")
    assert psql is not None
    command = [
        psql,
        "-h",
        socket,
        "-U",
        "postgres",
        "-qc",
        f"CREATE DATABASE {name} TEMPLATE {template}",
    ]
    subprocess.run(command, check=True)
    return f"postgresql://postgres@/{name}?host={socket}"
