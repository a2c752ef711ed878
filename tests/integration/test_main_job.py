"""The main job through REST, on real Ray and DeepSpeed: undisturbed, and killed part by part."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlhf_service.client import ApiError
from rlhf_service.events import Recovered, RoleStopped, StepCompleted
from rlhf_service.job import JobStatus
from rlhf_service.reports import deterministic_part
from rlhf_service.storage import JobFolder
from tests.integration.conftest import finish, processes, wait_until

PPO_STEPS = 12
FIRST_KILL = 3


@pytest.fixture
def spec(pipeline_spec):
    """The tiny pipeline with a PPO stage long enough to be disturbed."""
    changed = pipeline_spec.model_dump(mode="json")
    ppo = changed["stages"][2]
    ppo |= {"steps": PPO_STEPS, "prompts_per_step": 12}
    ppo["sampling"]["max_new_tokens"] = 32
    changed["checkpoint"]["every"] = 4
    return changed


def folder_of(service, job_id) -> JobFolder:
    return JobFolder(service.folder / "storage" / "jobs" / job_id)


def reports(client, job_id):
    """(stage, step) → every deterministic report of it, oldest first."""
    found: dict[tuple[str, int], list[dict[str, object]]] = {}
    for stored in client.jobs.events(job_id):
        if isinstance(stored.event, StepCompleted):
            key = (stored.event.stage, stored.event.step)
            found.setdefault(key, []).append(deterministic_part(stored.event.report))
    return found


def weights(service, job_id):
    return AutoModelForCausalLM.from_pretrained(folder_of(service, job_id).model).state_dict()


@pytest.fixture(scope="module")
def undisturbed():
    """Reports and weights of the first, undisturbed run; filled by whoever comes first."""
    return {}


def reference_run(service, client, spec, undisturbed):
    if not undisturbed:
        job = client.jobs.create(spec)
        assert finish(client, job.id) is JobStatus.SUCCEEDED, client.jobs.get(job.id).message
        undisturbed["reports"] = reports(client, job.id)
        undisturbed["weights"] = weights(service, job.id)
        undisturbed["job"] = job.id
    return undisturbed


def reach(service, job_id, step, attempt="*") -> None:
    """Wait until PPO's `step` was reported, by this attempt if it is named."""
    wait_until(
        lambda: steps_on_disk(service, job_id, "ppo", attempt) >= step, 400, f"PPO step {step}"
    )


def steps_on_disk(service, job_id, stage, attempt="*") -> int:
    """Highest step of `stage` that any learner has reported."""
    highest = 0
    for path in folder_of(service, job_id).events.glob(f"a{attempt}-learner*.jsonl"):
        for line in path.read_text().splitlines():
            if f'"stage":"{stage}"' in line and '"type":"step"' in line:
                highest = max(highest, json.loads(line)["event"]["step"])
    return highest


def test_the_job_succeeds_and_its_events_have_no_gap(service, client, spec, undisturbed):
    reference = reference_run(service, client, spec, undisturbed)
    job = reference["job"]
    stored = list(client.jobs.events(job))
    assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
    keys = [(event.producer, event.producer_seq) for event in stored]
    assert len(set(keys)) == len(keys)
    assert {key[0] for key in reference["reports"]} == {"sft", "reward", "ppo"}
    assert len([key for key in reference["reports"] if key[0] == "ppo"]) == PPO_STEPS
    streamed = list(client.jobs.stream(job, after=5))
    assert [event.seq for event in streamed] == list(range(6, len(stored) + 1))


ROLES = {
    "rollout actor": "ray::RolloutActor",
    "reward actor": "ray::RewardActor",
    "learner rank": "ray::RayTrainWorker",
    "Ray Train's controller": "ray::TrainController",
    "weight store": "ray::WeightStore",
    "driver": "cluster.driver --job",
}
NEXT_ATTEMPT = {"driver", "Ray Train's controller", "pause", "Ray head"}
"""What only another attempt can mend."""
MENDED = {"rollout actor": "rollout-0", "learner rank": "learner"}
"""Who says by which name that it goes on, within the attempt."""


@pytest.mark.parametrize(
    "roles",
    [
        ("rollout actor", "reward actor", "pause", "weight store", "control plane"),
        ("learner rank", "Ray Train's controller", "driver", "Ray head"),
    ],
    ids=lambda roles: " then ".join(roles),
)
def test_kill_9_of_any_process_changes_nothing(service, client, spec, undisturbed, roles):
    reference = reference_run(service, client, spec, undisturbed)
    spec["recovery"]["max_attempts"] = 1 + len(roles)
    job = client.jobs.create(spec).id
    attempt = 1
    for number, role in enumerate(roles, start=1):
        reach(service, job, FIRST_KILL + number, attempt)
        if role == "pause":
            pause_and_resume(client, job)
        else:
            kill(service, client, job, role)
        attempt += role in NEXT_ATTEMPT
    killed_at = time.monotonic()
    status = finish(client, job)
    print(f"\n{roles}: ended {status} {time.monotonic() - killed_at:.1f} s after the last kill")
    assert status is JobStatus.SUCCEEDED, client.jobs.get(job).message
    found = reports(client, job)
    assert {key: newest[-1] for key, newest in found.items()} == {
        key: newest[-1] for key, newest in reference["reports"].items()
    }
    assert all(repeat == again[0] for again in found.values() for repeat in again)
    final = weights(service, job)
    assert all(torch.equal(final[name], tensor) for name, tensor in reference["weights"].items())
    stored = list(client.jobs.events(job))
    assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
    said = {e.event.role for e in stored if isinstance(e.event, Recovered | RoleStopped)}
    if "rollout actor" in roles:
        assert "rollout-0" in said
    if "learner rank" in roles:
        assert "learner" in said
    assert len(client.jobs.get(job).model_dump()["attempts"]) == attempt


def pause_and_resume(client, job) -> None:
    client.jobs.pause(job)
    wait_until(lambda: client.jobs.get(job).status is JobStatus.PAUSED, 60, "the pause")
    client.jobs.resume(job)


def kill(service, client, job, role) -> None:
    """kill -9 every process of a role; wait for its return where its loss is told."""
    if role == "control plane":
        os.kill(service.api_pid, signal.SIGKILL)
        wait_until(lambda: service.tend() is None and answers(client, job), 60, "its return")
        return
    if role == "Ray head":
        head, token = service.cluster.address, service.cluster.token_file.read_text()
        [gcs] = processes(service, "gcs_server")
        os.kill(gcs.pid, signal.SIGKILL)
        wait_until(lambda: not service.cluster.alive, 60, "the end of the cluster")
        service.tend()
        assert (service.cluster.address, service.cluster.token_file.read_text()) == (head, token)
        return
    victims = processes(service, ROLES[role])
    assert victims, f"no {role} is running"
    for victim in victims:
        os.kill(victim.pid, signal.SIGKILL)
    if role in MENDED:  # a later kill may come before anybody has noticed this one
        wait_until(lambda: recovered(service, job, MENDED[role]), 120, f"another {role}")


def recovered(service, job_id, role) -> bool:
    """Whether the job's own files say so."""
    return any(
        '"type":"recovered"' in line and f'"role":"{role}"' in line
        for path in folder_of(service, job_id).events.glob("*.jsonl")
        for line in path.read_text().splitlines()
    )


def test_a_learner_that_hangs_is_named_and_the_job_goes_on(service, client, spec, undisturbed):
    reference = reference_run(service, client, spec, undisturbed)
    spec["recovery"]["stall_timeout"] = 30
    job = client.jobs.create(spec).id
    reach(service, job, 6)
    for worker in processes(service, ROLES["learner rank"]):
        os.kill(worker.pid, signal.SIGSTOP)
    assert finish(client, job) is JobStatus.SUCCEEDED, client.jobs.get(job).message
    [named] = [e.event for e in client.jobs.events(job) if isinstance(e.event, RoleStopped)]
    assert named.role == "learner" and named.stalled and "ppo after step" in named.phase
    final = weights(service, job)
    assert all(torch.equal(final[name], tensor) for name, tensor in reference["weights"].items())


def answers(client, job) -> bool:
    try:
        client.jobs.get(job)
    except ApiError:
        return False
    return True


def test_events_file_is_the_first_copy(service, client, spec, undisturbed):
    """Every event the control plane has of a learner is a line of the job's own files."""
    reference = reference_run(service, client, spec, undisturbed)
    on_disk = {
        (record["producer"], record["producer_seq"])
        for path in Path(folder_of(service, reference["job"]).events).glob("*.jsonl")
        for record in map(json.loads, path.read_text().splitlines())
    }
    stored = {
        (event.producer, event.producer_seq)
        for event in client.jobs.events(reference["job"])
        if event.producer != "control"
    }
    assert stored == on_disk
