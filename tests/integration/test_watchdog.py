"""Processes that stop, folders that disappear, jobs that are tried again: on real Ray."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
import ray

from cluster.stacks import stacks
from rlhf_service.events import Log, Recovered, RoleStopped, StageStarted, StepCompleted
from rlhf_service.job import JobStatus, StopReason
from rlhf_service.storage import JobFolder
from tests.integration.conftest import finish, processes, wait_until

PATIENCE = 25
TITLES = {
    "rollout-0": "ray::RolloutActor",
    "reward-0": "ray::RewardActor",
    "weights": "ray::WeightStore",
}


@pytest.fixture
def spec(pipeline_spec):
    """One PPO stage without a critic, long enough to be disturbed."""
    changed = pipeline_spec.model_dump(mode="json")
    ppo = changed["stages"][2]
    ppo |= {"reward": {"type": "length", "target": 3}, "critic": None, "steps": 12}
    ppo |= {"evaluation": None, "sampling": {"max_new_tokens": 32}}
    changed |= {"stages": [ppo], "checkpoint": {"every": 2}}
    changed["recovery"]["request_timeout"] = PATIENCE
    return changed


def folder_of(service, job) -> JobFolder:
    return JobFolder(service.folder / "storage" / "jobs" / job)


def reached(client, job) -> int:
    """The newest step that the control plane knows of."""
    progress = client.jobs.get(job).progress
    return progress.step if progress else 0


def reach(client, job, step):
    wait_until(lambda: reached(client, job) >= step, 300, f"step {step}")


def freeze(service, *roles) -> None:
    for role in roles:
        victims = processes(service, TITLES[role])
        assert victims, f"no {role} is running"
        for victim in victims:
            os.kill(victim.pid, signal.SIGSTOP)


def events(client, job, kind):
    return [stored.event for stored in client.jobs.events(job) if isinstance(stored.event, kind)]


def test_whoever_stops_is_named_and_replaced_and_the_job_goes_on(service, client, spec):
    job = client.jobs.create(spec).id
    reach(client, job, 2)
    freeze(service, *TITLES)
    assert finish(client, job) is JobStatus.SUCCEEDED, client.jobs.get(job).message
    named = {e.role: e for e in events(client, job, RoleStopped) if e.stalled}
    assert set(named) == set(TITLES)
    assert all("no sign of life" in event.message and event.phase for event in named.values())
    back = {e.role for e in events(client, job, Recovered) if "replaced by process" in e.message}
    assert back == set(TITLES)
    assert len(client.jobs.get(job).model_dump()["attempts"]) == 1
    log = folder_of(service, job).driver_log(1).read_text()
    for role in TITLES:
        assert f"{role}: no sign of life" in log and f"{role} (process " in log
    assert "Thread" in log


def test_a_spent_budget_fails_the_job_and_a_retry_goes_on_from_its_checkpoint(
    service, client, spec
):
    spec["recovery"]["max_restarts"] = 0
    job = client.jobs.create(spec).id
    reach(client, job, 4)
    freeze(service, "reward-0")
    assert finish(client, job) is JobStatus.FAILED
    ended = client.jobs.get(job)
    assert ended.reason is StopReason.STALLED
    for part in ("reward-0", "recovery.max_restarts allows 0", "recovery.request_timeout"):
        assert part in ended.message, ended.message
    again = client.jobs.retry(job).id
    assert finish(client, again) is JobStatus.SUCCEEDED, client.jobs.get(again).message
    assert min(event.step for event in events(client, again, StepCompleted)) > 2
    assert any("resumes from checkpoint" in e.message for e in events(client, again, Log))


def test_a_folder_that_disappears_is_brought_back_from_its_copies(service, client, spec, copies):
    spec["stages"][0]["steps"] = 24
    job = client.jobs.create(spec).id
    wait_until(lambda: any(copies.glob(f"jobs/{job}/checkpoints/*/MANIFEST")), 300, "a copy")
    root = folder_of(service, job).root
    root.rename(root.with_name("taken"))  # at once: to delete it file by file races with who writes
    assert finish(client, job) is JobStatus.SUCCEEDED, client.jobs.get(job).message
    first, *_ = client.jobs.get(job).model_dump()["attempts"]
    assert "disappeared" in first["outcome"], first
    # From the copies; or from a newer checkpoint that the learner wrote before it heard of the loss.
    assert max(event.from_step for event in events(client, job, StageStarted)) > 0
    steps = [event.step for event in events(client, job, StepCompleted)]
    assert max(steps) == 24 and steps.count(1) == 1, "it began at the start"


def test_stacks_of_another_machine_are_read_by_a_task_there(service, tmp_path):
    """A process whose machine is called otherwise; Ray's name of its node is what counts."""
    from rlhf_service.vitals import Vitals, read_signs

    command = psutil.Process(service.cluster.pid).cmdline()
    port = next(part for part in command if part.startswith("--port=")).removeprefix("--port=")
    ray.init(address=f"127.0.0.1:{port}", namespace="stacks", log_to_driver=False)
    try:
        vitals = Vitals(tmp_path / "rollout-3.json", "rollout-3", ray.nodes()[0]["NodeID"])
        [sign] = read_signs(tmp_path)
        elsewhere = type(sign)(
            **{name: getattr(sign, name) for name in type(sign).__slots__} | {"host": "elsewhere"}
        )
        said = stacks(elsewhere)
        vitals.close()
    finally:
        ray.shutdown()
    assert "test_stacks_of_another_machine_are_read_by_a_task_there" in said
