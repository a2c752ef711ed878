"""A learner group that changes its size in PPO, its pools beside it, on real Ray with one machine and
two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cluster.local import LocalCluster, descendants, die_with_parent, kill_and_wait, ray_command
from rlhf_service.spec import JobSpec
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.storage import JobFolder
from tests.integration.conftest import wait_until
from tests.small import apart, stage_context

STEPS = 60
POLL = "1"
"""Seconds between two looks of Ray Train at its workers. A checkpoint's step waits for one, so the
steps are as slow as this, and what happens between them happens before the last."""


@pytest.fixture
def spec(pipeline_spec: JobSpec) -> JobSpec:
    changed = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    small = {"learning_rate": 1e-5}  # so that no rounding, summed over steps, draws another token
    sft, reward, ppo = changed["stages"]
    sft["batch_size"] = reward["batch_size"] = ppo["prompts_per_step"] = 6
    ppo |= {"steps": STEPS, "optimizer": small, "critic_optimizer": small}
    changed["checkpoint"] = {"every": 1}
    changed["learner"] = {"zero_stage": 2}
    changed["recovery"] = {"resize_interval": 1}
    changed["resources"] = {"learner": {"num_workers": 3, "min_workers": 1, "threads": 1}}
    return JobSpec.model_validate(changed)


# A machine that says nothing for some seconds is lost; by default it takes Ray half a minute.
HEALTH = {"period": 1000, "timeout": 4000, "failure_threshold": 4}


def test_a_group_begins_with_what_fits_grows_and_survives_a_machine(tmp_path, spec, monkeypatch):
    for name, value in HEALTH.items():
        unit = "" if name == "failure_threshold" else "_ms"
        monkeypatch.setenv(f"RAY_health_check_{name}{unit}", str(value))
    folder = JobFolder(tmp_path / "job-elastic")
    folder.events.mkdir(parents=True)
    folder.spec.write_text(spec.model_dump_json())
    with LocalCluster(tmp_path / "ray", num_cpus=2) as cluster, driver(cluster, folder) as running:
        wait_until(lambda: len(steps(folder)) > 1, 400, "steps of one rank")
        assert lives(folder) == [1]
        with machine(cluster):
            wait_until(lambda: lives(folder)[-1] == 3, 300, "the other ranks")
            grown = len(steps(folder))
            wait_until(lambda: len(steps(folder)) > grown + 1, 300, "steps of three ranks")
        # The machine is gone, without a word.
        wait_until(lambda: lives(folder)[-1] == 1, 300, "the group with one rank again")
        assert running.wait(300) == 0, folder.driver_log(1).read_text()[-3000:]
    assert lives(folder) == [1, 3, 1]
    told = [e["message"] for e in said(folder, "a1-learner-*-0.jsonl") if "message" in e]
    assert [message.rpartition("with ")[2] for message in told if "learner group" in message] == [
        "1 of 3 ranks",
        "3 of 3 ranks",
        "1 of 3 ranks",
    ]
    assert json.loads(folder.result.read_text())
    done = [step for step, _ in steps(folder)]
    assert sorted(set(done)) == list(range(1, STEPS + 1))
    assert len(done) <= STEPS + 4  # at each change, what came after the newest checkpoint

    alone = stage_context(spec, tmp_path / "undisturbed")  # plain torch
    run_pipeline(alone)
    wanted = {
        e.step: e.report.model_dump()
        for e in alone.sink.events
        if e.type == "step" and e.stage == "ppo"
    }
    for step, report in steps(folder):
        for figure in ("score_mean", "value_loss", "policy_grad_norm"):
            assert report[figure] == pytest.approx(wanted[step][figure], rel=1e-3, abs=1e-4), step
    final, undisturbed, before = (
        load_file(where / "model.safetensors")
        for where in (folder.model, alone.folder.model, alone.folder.stage_model("sft"))
    )
    # Of how far the weights moved, next to nothing: no update was lost, none made twice.
    assert apart(final, undisturbed) < 1e-2 * apart(undisturbed, before)


@contextmanager
def driver(cluster: LocalCluster, folder: JobFolder) -> Iterator[subprocess.Popen[bytes]]:
    """The job's driver, as the Ray Jobs API starts it."""
    environment = {
        **os.environ,
        **cluster.environment,
        "RAY_ADDRESS": cluster.address,
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": POLL,
    }
    words = [sys.executable, "-m", "cluster.driver", "--job", str(folder.root), "--attempt", "1"]
    process = subprocess.Popen(words, env=environment, preexec_fn=die_with_parent)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def machine(cluster: LocalCluster) -> Iterator[None]:
    """A second one with room for two ranks; in the end it is killed with all its processes."""
    words = [*ray_command(), "start", "--block", f"--address={cluster.address}", "--num-cpus=2"]
    options = ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000"]
    ports = ["--min-worker-port=0", "--max-worker-port=0"]  # the first machine has the usual ones
    process = subprocess.Popen(
        [*words, *options, *ports, "--disable-usage-stats"],
        env=os.environ | cluster.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        yield
    finally:
        kill_and_wait(descendants(process.pid), 30)
        process.wait()


def steps(folder: JobFolder) -> list[tuple[int, dict]]:
    """Each PPO step that rank 0 has reported, with its report, in the order of the lives."""
    return [
        (event["step"], event["report"])
        for event in said(folder, "a1-learner-*-0.jsonl")
        if event["type"] == "step" and event["stage"] == "ppo"
    ]


def lives(folder: JobFolder) -> list[int]:
    """Ranks that have spoken in each life of the group."""
    found: dict[int, int] = {}
    for path in folder.events.glob("a1-learner-*.jsonl"):
        life = int(path.stem.split("-")[2])
        found[life] = found.get(life, 0) + 1
    return [found[life] for life in sorted(found)]


def said(folder: JobFolder, pattern: str) -> Iterator[dict]:
    def life(path: Path) -> int:
        return int(path.stem.split("-")[2])

    for path in sorted(folder.events.glob(pattern), key=life):
        for line in path.read_text().splitlines():
            try:
                yield json.loads(line)["event"]
            except ValueError:
                continue  # torn by the kill
