"""kill -9 of the control plane at every point between two effects: one attempt, one true end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.failpoints import Point
from tests.api.fake_ray import FakeRay, fake_ray
from tests.api.planes import Cut, Plane, planes, small_spec


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    with fake_ray() as cluster:
        yield cluster


@pytest.fixture
def plane(ray: FakeRay, tmp_path: Path) -> Iterator[Plane]:
    patience = {"lease_seconds": 2.0, "launcher_timeout": 1.0}
    with planes(ray, tmp_path, cancel_grace=0.0, pause_grace=0.0, **patience) as [made]:
        yield made


def submitted(plane: Plane, folder: Path) -> str:
    headers = {"idempotency-key": "once"}
    job = plane.ask("POST", "/v1/jobs", json=small_spec(folder), headers=headers)
    return str(job["id"])


def live(plane: Plane, ray: FakeRay, name: str) -> None:
    plane.until(lambda: name in ray.live())


def reached(plane: Plane, job_id: str, status: str) -> None:
    plane.until(lambda: plane.ask("GET", f"/v1/jobs/{job_id}")["status"] == status)


def run(plane: Plane, ray: FakeRay, folder: Path) -> list[str]:
    """Submit, train, succeed."""
    job_id = submitted(plane, folder)
    live(plane, ray, f"{job_id}-a1")
    ray.succeed(f"{job_id}-a1")
    reached(plane, job_id, "succeeded")
    return [f"{job_id}-a1"]


def retry(plane: Plane, ray: FakeRay, folder: Path) -> list[str]:
    """The first driver dies, the second succeeds."""
    job_id = submitted(plane, folder)
    live(plane, ray, f"{job_id}-a1")
    ray.crash(f"{job_id}-a1")
    live(plane, ray, f"{job_id}-a2")
    ray.succeed(f"{job_id}-a2")
    reached(plane, job_id, "succeeded")
    return [f"{job_id}-a1", f"{job_id}-a2"]


def cancel(plane: Plane, ray: FakeRay, folder: Path) -> list[str]:
    """Cancel a driver that does not listen."""
    ray.obeys = False
    job_id = submitted(plane, folder)
    live(plane, ray, f"{job_id}-a1")
    plane.ask("POST", f"/v1/jobs/{job_id}/cancel")
    reached(plane, job_id, "cancelled")
    return [f"{job_id}-a1"]


def pause(plane: Plane, ray: FakeRay, folder: Path) -> list[str]:
    """Pause a driver that does not listen, resume, succeed."""
    ray.obeys = False
    job_id = submitted(plane, folder)
    live(plane, ray, f"{job_id}-a1")
    plane.ask("POST", f"/v1/jobs/{job_id}/pause")
    reached(plane, job_id, "paused")
    plane.ask("POST", f"/v1/jobs/{job_id}/resume")
    live(plane, ray, f"{job_id}-a2")
    ray.succeed(f"{job_id}-a2")
    reached(plane, job_id, "succeeded")
    return [f"{job_id}-a1", f"{job_id}-a2"]


Story = Callable[[Plane, FakeRay, Path], list[str]]
SUBMIT = (
    Point.JOB_STORED, Point.ADMITTING, Point.ATTEMPT_OPENED, Point.FOLDER_PREPARED,
    Point.SUBMITTING, Point.SUBMITTED, Point.SUBMIT_RECORDED,
)  # fmt: skip
STOP = (Point.REQUEST_STORED, Point.FLAG_RAISED, Point.STOPPING, Point.STOPPED)
SETTLE = (Point.SETTLING, Point.SETTLE_WRITING, Point.SETTLED)
RESUBMIT = (Point.FOLDER_PREPARED, Point.SUBMITTING, Point.SUBMITTED, Point.SUBMIT_RECORDED)

CASES: list[tuple[Story, Point, int]] = [
    *[(run, point, 0) for point in (*SUBMIT, *SETTLE)],
    *[(retry, point, 0) for point in SETTLE],
    *[(retry, point, 1) for point in RESUBMIT],
    *[(cancel, point, 0) for point in (*STOP, *SETTLE)],
    *[(pause, point, 0) for point in (*STOP, *SETTLE)],
    (pause, Point.REQUEST_STORED, 1),  # the resume
]


@pytest.mark.parametrize(
    ("story", "point", "passes"),
    CASES,
    ids=[f"{s.__name__}-{p}-{n + 1}" for s, p, n in CASES],
)
def test_killed_there_the_job_is_submitted_once_and_ends_as_it_should(
    plane: Plane, ray: FakeRay, tmp_path: Path, story: Story, point: Point, passes: int
) -> None:
    plane.start(Cut(point, passes))
    expected = story(plane, ray, tmp_path)
    assert plane.deaths == 1, f"{point} was not passed"
    assert_once(plane, ray, expected)


def test_killed_while_the_cluster_takes_the_job(plane: Plane, ray: FakeRay, tmp_path: Path) -> None:
    def kill(_: str) -> None:
        ray.took = None
        assert plane.process is not None and plane.process.pid is not None
        os.kill(plane.process.pid, signal.SIGKILL)

    ray.took = kill
    plane.start()
    expected = run(plane, ray, tmp_path)
    assert plane.deaths == 1
    assert ray.asked == expected * 2, "asked again, for the answer never came"
    assert_once(plane, ray, expected)


def test_no_point_is_left_out() -> None:
    assert {point for _, point, _ in CASES} == set(Point)


def assert_once(plane: Plane, ray: FakeRay, expected: list[str]) -> None:
    """Those attempts and no others, one at a time, and a log without gap or repeat."""
    assert ray.taken == expected
    assert ray.at_once == 1
    assert ray.live() == []
    [job] = plane.ask("GET", "/v1/jobs")["data"]
    assert [attempt["submission_id"] for attempt in job["attempts"]] == expected
    events = plane.ask("GET", f"/v1/jobs/{job['id']}/events", params={"limit": 1000})["data"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    statuses: list[Any] = [e["event"]["status"] for e in events if e["event"]["type"] == "status"]
    assert len([s for s in statuses if s in ("succeeded", "cancelled", "failed")]) == 1
