"""A job on a cluster that has no CPU until one asks for it: the real autoscaler, nodes that come and
go, the real control plane.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_service.client import Client
from rlhf_service.job import JobStatus
from tests.integration.conftest import finish, wait_until
from tests.integration.growing import control_plane, end_all, growing_cluster
from tests.integration.test_local_cluster import marked
from tests.small import write_corpus

IDLE_SECONDS = 3
BOUND = 120
KEY = "rlhf_a-key-for-tests"


def one_step(corpus: dict[str, str]) -> dict[str, object]:
    """Pools and a learner: 1.5 CPUs, reserved one after the other."""
    model = {"type": "scratch", "hidden_size": 16, "num_layers": 1, "num_heads": 2,
             "context_length": 64, "vocab_size": 300}  # fmt: skip
    stage = {"type": "grpo", "prompts": {"path": corpus["prompts"]}, "steps": 1,
             "prompts_per_step": 2, "samples_per_prompt": 2, "max_prompt_length": 16,
             "sampling": {"max_new_tokens": 8}, "reward": {"type": "length", "target": 4}}  # fmt: skip
    return {"name": "grows", "model": model, "stages": [stage]}


@pytest.fixture
def folder(tmp_path: Path):
    """Where all of it lives; nothing is left running."""
    yield tmp_path / "growing"
    end_all(tmp_path / "growing")


def test_a_job_brings_the_node_that_it_runs_on_and_the_node_leaves_after_it(folder, tmp_path):
    corpus = write_corpus(tmp_path)
    with growing_cluster(folder, cpus=2, most=1, idle_seconds=IDLE_SECONDS) as cluster:
        assert cluster.workers() == []
        grows = {"cluster_max_cpus": "2", "data_roots": str(tmp_path)}
        with control_plane(cluster, folder, KEY, **grows) as url, Client(url, KEY) as client:
            job = client.jobs.create(one_step(corpus))
            wait_until(lambda: bool(cluster.workers()), BOUND, "a worker")
            [worker] = cluster.workers()
            assert finish(client, job.id) is JobStatus.SUCCEEDED
            log = list(client.jobs.events(job.id))
            assert {stored.attempt for stored in log if stored.attempt} == {1}
            said = [stored.event.message for stored in log if stored.event.type == "log"]
            assert any(line.endswith("to grow: needs 1.5 CPUs, it has 0") for line in said), said
            ran_on = {a["name"]: a["node_id"] for a in cluster.rows("actors") if a["name"]}
            for role in ("rollout-0", "reward-0"):
                assert ran_on[f"rlhf/{job.id}/{role}"] == worker
            wait_until(lambda: not cluster.workers(), BOUND, "the worker's leave")
        assert any(marked(folder)), "the head lives until it is stopped"
    wait_until(lambda: not marked(folder), BOUND, "the end of every process")
