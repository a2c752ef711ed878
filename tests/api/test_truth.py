"""What happens to the control plane, the cluster and the way between them; what is said afterwards.

Real processes on one PostgreSQL, and a Ray Jobs API that is cut off or loses everything.
"""

from __future__ import annotations

import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.failpoints import Point
from tests.api.fake_ray import FakeRay, RayJob, fake_ray
from tests.api.planes import Cut, Plane, planes, small_spec
from tests.api.postgres import pg_program

TRUE_WITHIN = 30.0
"""Seconds after which what is said of every job must be so."""
LEASE = 2.0


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    with fake_ray() as cluster:
        yield cluster


@pytest.fixture
def database(postgres: str) -> str:
    name, psql = f"t{uuid.uuid4().hex}", pg_program("psql")
    assert psql is not None
    command = [psql, "-h", postgres, "-U", "postgres", "-qc", f"CREATE DATABASE {name}"]
    subprocess.run(command, check=True)
    return f"postgresql://postgres@/{name}?host={postgres}"


@pytest.fixture
def replicas(ray: FakeRay, database: str, tmp_path: Path) -> Iterator[list[Plane]]:
    with planes(
        ray, tmp_path, count=2, database_url=database, lease_seconds=LEASE, launcher_timeout=1.0
    ) as made:
        yield made


def submit(plane: Plane, folder: Path) -> str:
    return str(plane.ask("POST", "/v1/jobs", json=small_spec(folder))["id"])


def status(plane: Plane, job_id: str) -> str:
    return str(plane.ask("GET", f"/v1/jobs/{job_id}")["status"])


def message(plane: Plane, job_id: str) -> str:
    return str(plane.ask("GET", f"/v1/jobs/{job_id}")["message"])


def recorded(plane: Plane, job_id: str) -> bool:
    """The cluster took its first attempt, and that is written down."""
    attempts = plane.ask("GET", f"/v1/jobs/{job_id}")["attempts"]
    return bool(attempts) and attempts[0]["submitted_at"] is not None


def history(plane: Plane, job_id: str) -> list[str]:
    answer = plane.ask("GET", f"/v1/jobs/{job_id}/events", params={"limit": 1000})
    events: list[dict[str, Any]] = answer["data"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return [e["event"]["status"] for e in events if e["event"]["type"] == "status"]


@pytest.mark.parametrize(
    "point",
    [Point.ADMITTING, Point.SUBMITTING, Point.SUBMITTED, Point.SETTLING, Point.SETTLE_WRITING],
)
def test_a_replica_stopped_past_its_lease_is_replaced_and_writes_nothing_when_it_wakes(
    replicas: list[Plane], ray: FakeRay, tmp_path: Path, point: Point
) -> None:
    """In the middle of its work, some of it in a transaction that holds the job's row."""
    one, other = replicas
    one.start(Cut(point, signal=signal.SIGSTOP))
    job_id = submit(one, tmp_path)
    if point in (Point.SETTLING, Point.SETTLE_WRITING):
        one.until(lambda: ray.live() == [f"{job_id}-a1"])
        ray.crash(f"{job_id}-a1")
    one.until(lambda: one.stopped)
    other.start()
    newest = f"{job_id}-a{len(ray.taken) + (point is not Point.SUBMITTED)}"
    took = other.until(lambda: ray.live() == [newest])
    assert took < TRUE_WITHIN
    ray.succeed(newest)
    other.until(lambda: status(other, job_id) == "succeeded")
    before = other.ask("GET", f"/v1/jobs/{job_id}")
    one.signal(signal.SIGCONT)
    later = submit(one, tmp_path)  # it is awake, and what it was about to do was done or given up
    one.until(lambda: f"{later}-a1" in ray.live())
    one.until(lambda: status(one, later) == "provisioning")
    assert other.ask("GET", f"/v1/jobs/{job_id}") == before
    assert ray.taken == [*(f"{job_id}-a{n + 1}" for n in range(len(ray.taken) - 1)), f"{later}-a1"]
    assert ray.at_once == 1
    assert history(other, job_id).count("succeeded") == 1


def test_a_driver_that_a_sleeper_starts_too_late_is_found_and_stopped(
    replicas: list[Plane], ray: FakeRay, tmp_path: Path
) -> None:
    """It sleeps just before it submits; until it wakes the cluster has been replaced."""
    one, other = replicas
    one.start(Cut(Point.SUBMITTING, signal=signal.SIGSTOP))
    job_id = submit(one, tmp_path)
    one.until(lambda: one.stopped)
    other.start()
    other.until(lambda: ray.live() == [f"{job_id}-a1"])
    ray.restart_empty()
    other.until(lambda: ray.live() == [f"{job_id}-a2"])
    one.signal(signal.SIGCONT)
    one.until(lambda: ray.asked.count(f"{job_id}-a1") == 2)
    took = one.until(lambda: ray.live() == [f"{job_id}-a2"])
    print(f"\nthe late driver was stopped after {took:.1f} s")
    assert took < TRUE_WITHIN


def test_a_partition_longer_than_the_lease_changes_nothing(
    replicas: list[Plane], ray: FakeRay, tmp_path: Path
) -> None:
    one, other = replicas
    one.start()
    other.start()
    trains, ends = submit(one, tmp_path), submit(one, tmp_path)
    one.until(lambda: len(ray.live()) == 2)
    ray.cut_off = True
    ray.succeed(f"{ends}-a1")
    one.until(lambda: "does not answer" in message(one, trains))
    began = time.monotonic()
    one.until(lambda: time.monotonic() - began > 3 * LEASE)
    assert {status(other, job) for job in (trains, ends)} == {"provisioning"}
    ray.cut_off = False
    took = one.until(lambda: status(one, ends) == "succeeded")
    one.until(lambda: "does not answer" not in message(one, trains))
    print(f"\ntrue {took:.1f} s after the partition")
    assert took < TRUE_WITHIN
    assert ray.taken == [f"{trains}-a1", f"{ends}-a1"]


@pytest.mark.parametrize("lost", ["the control planes", "the cluster's head", "both"])
def test_after_a_loss_every_job_is_told_truly(
    replicas: list[Plane], ray: FakeRay, tmp_path: Path, lost: str
) -> None:
    one, other = replicas
    one.start()
    other.start()
    trains, ends, dies, stops = (submit(one, tmp_path) for _ in range(4))
    one.until(lambda: all(recorded(one, job) for job in (trains, ends, dies, stops)))
    if lost != "the cluster's head":
        one.kill()
        other.kill()
    # Nobody watches while these happen; one of them was asked to stop.
    ray.succeed(f"{ends}-a1")
    ray.crash(f"{dies}-a1")
    if lost == "the cluster's head":
        one.ask("POST", f"/v1/jobs/{stops}/cancel")
    if lost != "the control planes":
        ray.restart_empty()
    if lost != "the cluster's head":
        other.start()
        other.ask("POST", f"/v1/jobs/{stops}/cancel")
    again = {f"{dies}-a2", *([f"{trains}-a2"] if lost != "the control planes" else [])}
    wanted = {ends: "succeeded", stops: "cancelled", dies: "recovering"}
    if lost != "the control planes":
        wanted[trains] = "recovering"
    took = other.until(
        lambda: {job: status(other, job) for job in wanted} == wanted and again <= {*ray.live()}
    )
    print(f"\ntrue {took:.1f} s after the loss of {lost}")
    assert took < TRUE_WITHIN
    assert len(ray.taken) == len(set(ray.taken)), "nothing twice"
    for job, kept in wanted.items():
        assert history(other, job)[-1] == kept


def test_orphans_of_every_kind_are_removed_and_strangers_left_alone(
    replicas: list[Plane], ray: FakeRay, tmp_path: Path
) -> None:
    one, _ = replicas
    one.start()
    job_id = submit(one, tmp_path)
    one.until(lambda: ray.live() == [f"{job_id}-a1"])
    ours = ray.jobs[f"{job_id}-a1"].metadata
    ray.succeed(f"{job_id}-a1")
    one.until(lambda: status(one, job_id) == "succeeded")
    alive = submit(one, tmp_path)
    one.until(lambda: ray.live() == [f"{alive}-a1"])
    stranger = {**ours, "rlhf_job": "job-unknown", "rlhf_owner": "another"}
    for name, metadata in {
        f"{job_id}-a2": {**ours, "attempt": "2"},
        f"{alive}-a7": {**ours, "rlhf_job": alive, "attempt": "7"},
        "job-unknown-a1": stranger,
        "raysubmit_x": {},
    }.items():
        ray.jobs[name] = RayJob(name, metadata, None)
    for job in (job_id, alive, "job-unknown"):
        ray.actors.append(detached(job))
    took = one.until(
        lambda: (
            {*ray.live()} == {f"{alive}-a1", "job-unknown-a1", "raysubmit_x"}
            and [actor["actor_id"] for actor in ray.actors] == [f"of {alive}", "of job-unknown"]
        )
    )
    assert took < TRUE_WITHIN
    assert status(one, job_id) == "succeeded"


def detached(job: str) -> dict[str, Any]:
    return {
        "actor_id": f"of {job}",
        "name": f"rlhf/{job}/rollout-0",
        "class_name": "RolloutActor",
        "state": "ALIVE",
        "job_id": "01000000",
        "is_detached": True,
    }
