"""Lists and logs over a large store: python -m tests.benchmarks.store [--jobs 100000] [--events 100]

Fills a database in bulk (`--events` for each job, so 10 million by default), then asks through REST.
Prints one JSON line: seconds to build, and milliseconds of each kind of request. `--database sqlite`
or `postgresql`, which runs a server of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from api.service.job_rows import new_job_id
from api.store.database import Database
from tests.api.postgres import new_database, postgres_server
from tests.benchmarks.plane import Plane, percentiles, plane, say

TEAMS, TENANT = 50, "default"
ONE_IN_RUNNING = 500

NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count}) "
    "SELECT n FROM n)",
    "postgresql": "generate_series(1, {count}) AS n(n)",
}
STEP = (
    '{"type": "step", "stage": "sft", "step": 1, "steps": 100, "replayed": false, "report": '
    '{"kind": "supervised", "loss": 2.0, "tokens": 64, "grad_norm": 1.0, "learning_rate": 0.0001, '
    '"seconds": 0.5, "tokens_per_second": 128.0, "validation_loss": null}}'
)


async def fill(url: str, template: str, jobs: int, events: int) -> float:
    """Copies of one job with labels and logs. Returns seconds."""
    database, began = Database(url), time.perf_counter()
    kind = "sqlite" if database.is_sqlite else "postgresql"
    numbers = NUMBERS[kind].format(count=events)
    step = STEP.replace("'", "''")
    async with database.engine.connect() as connection:
        columns = [
            name for name in (await connection.execute(text("SELECT * FROM jobs LIMIT 1"))).keys()
            if name not in ("number", "id", "status", "last_seq", "name")
        ]  # fmt: skip
        rows = [
            {
                "id": new_job_id(),
                "status": "succeeded",
                "name": f"run-{i}",
                "team": f"team-{i % TEAMS}",
            }
            for i in range(jobs)
        ]
        for row in rows[::ONE_IN_RUNNING]:
            row["status"] = "failed"
        named = ", ".join(columns)
        copy = (
            f"INSERT INTO jobs (id, status, last_seq, name, {named}) SELECT CAST(:id AS VARCHAR), "
            f"CAST(:status AS VARCHAR), {events}, CAST(:name AS VARCHAR), {named} "
            f"FROM jobs WHERE id = '{template}'"
        )
        for begin in range(0, jobs, 5000):
            await connection.execute(text(copy), rows[begin : begin + 5000])
            await connection.execute(
                text("INSERT INTO labels (job_id, key, value) VALUES (:id, 'team', :team)"),
                rows[begin : begin + 5000],
            )
            await connection.commit()
        zone = "+00:00" if kind == "postgresql" else ""
        moment = f"'2026-01-01 00:00:00.000000{zone}'"
        first = await connection.scalar(text("SELECT min(number) FROM jobs")) or 0
        for begin in range(0, jobs, 5000):
            log = (
                "INSERT INTO events "
                "(job_id, seq, attempt, producer, producer_seq, type, body, created_at) "
                f"SELECT jobs.id, n.n, 1, 'a1-learner-1-0', n.n, 'step', '{step}', {moment} "
                f"FROM jobs, {numbers} {'AS n' if kind == 'sqlite' else ''} "
                f"WHERE jobs.number > {first + begin} AND jobs.number <= {first + begin + 5000}"
            )
            await connection.execute(text(log.replace(":", "\\:")))
            await connection.commit()
    if kind == "postgresql":
        async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as own:
            await own.execute(text("VACUUM ANALYZE"))
    await database.close()
    return time.perf_counter() - began


def ask(found: Plane, job: str, times: int) -> dict[str, Any]:
    """Milliseconds of each kind of request, one at a time."""
    paths = {
        "first page": "/v1/jobs?limit=20",
        "a page in the middle": f"/v1/jobs?limit=20&after={job}",
        "by status": "/v1/jobs?limit=20&status=failed",
        "by label": "/v1/jobs?limit=20&label=team=team-7",
        "by an id's beginning": f"/v1/jobs?limit=20&search={job[:14]}",
        "by a name nobody has": "/v1/jobs?limit=20&search=nobody",
        "one job": f"/v1/jobs/{job}",
        "100 events": f"/v1/jobs/{job}/events?limit=100",
        "a job's metrics": f"/v1/jobs/{job}/metrics",
        "models": "/v1/models?limit=20",
        "scrape": "/metrics",
    }
    answered: dict[str, Any] = {}
    with httpx.Client(base_url=found.url, headers=found.headers, timeout=120) as client:
        for name, path in paths.items():
            seconds = []
            for _ in range(times if name != "by a name nobody has" else max(3, times // 20)):
                began = time.perf_counter()
                client.get(path).raise_for_status()
                seconds.append(time.perf_counter() - began)
            answered[name] = percentiles(seconds)
    return answered


@contextlib.contextmanager
def database_at(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite+aiosqlite:///{folder / 'control.db'}"
        return
    with postgres_server() as socket:
        yield new_database(socket, "benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=100, help="of each job")
    parser.add_argument("--database", choices=sorted(NUMBERS), default="postgresql")
    parser.add_argument("--times", type=int, default=200, help="requests of each kind")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with database_at(args.database, folder) as url:
            with plane(folder, url, reconcile="false") as found:
                with httpx.Client(base_url=found.url, headers=found.headers) as client:
                    made = client.post("/v1/jobs", json=found.spec()).raise_for_status().json()
                    client.post(f"/v1/jobs/{made['id']}/cancel").raise_for_status()
            built = asyncio.run(fill(found.settings.database, made["id"], args.jobs, args.events))
            with plane(folder, url, reconcile="false") as found:
                with httpx.Client(base_url=found.url, headers=found.headers) as client:
                    page = client.get("/v1/jobs?limit=1000", timeout=60).json()
                answers = ask(found, page["data"][-1]["id"], args.times)
                memory = round(found.memory())
    say(
        "store", database=args.database, jobs=args.jobs, events=args.jobs * args.events,
        build_seconds=round(built), milliseconds=answers, memory_mib=memory,
    )  # fmt: skip


if __name__ == "__main__":
    main()
