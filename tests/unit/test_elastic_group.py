"""How Ray Train is asked for a group that may change its size, and what it counts as its room."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray
from ray.data._internal.cluster_autoscaler import default_autoscaling_coordinator as coordinators
from ray.train import ScalingConfig
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy
from ray.train.v2.api import data_parallel_trainer

from cluster import claim
from cluster.driver import claim as claim_of
from cluster.learners import LearnerAssignment, run_learners
from rlhf_service.spec import JobSpec


def with_learner(spec: JobSpec, **learner: object) -> JobSpec:
    raw = spec.model_dump(mode="json", exclude_unset=True)
    raw["recovery"] = {"resize_interval": 7}
    return JobSpec.model_validate(raw | {"resources": {"learner": {"num_workers": 2, **learner}}})


def scaling(spec: JobSpec, tmp_path, monkeypatch) -> ScalingConfig:
    """What the group is started with."""
    given = {}

    def trainer(loop, **options):
        given.update(options)
        return SimpleNamespace(fit=lambda: None)

    monkeypatch.setattr(data_parallel_trainer, "DataParallelTrainer", trainer)
    run_learners(LearnerAssignment(spec=spec, folder=tmp_path / "job", attempt=1))
    return given["scaling_config"]


def test_a_group_may_be_as_small_as_the_job_says(pipeline_spec, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "25")  # put back afterwards
    found = scaling(with_learner(pipeline_spec, min_workers=1), tmp_path, monkeypatch)
    assert found.elasticity_enabled and (found.min_workers, found.max_workers) == (1, 2)
    assert found.elastic_resize_monitor_interval_s == 7


@pytest.mark.parametrize("learner", [{}, {"min_workers": 2}])
def test_a_group_keeps_its_size_by_default(pipeline_spec, tmp_path, monkeypatch, learner):
    found = scaling(with_learner(pipeline_spec, **learner), tmp_path, monkeypatch)
    assert not found.elasticity_enabled and found.num_workers == 2


class Coordinator:
    """Ray's own, without an actor, over machines with so many CPUs."""

    def __init__(self, *cpus: float) -> None:
        nodes = [
            {"NodeID": f"n{number}", "Alive": True, "Resources": {"CPU": count}}
            for number, count in enumerate(cpus)
        ]
        self.inner = coordinators._AutoscalingCoordinatorActor(
            send_resources_request=lambda *args, **kwargs: None, get_cluster_nodes=lambda: nodes
        )

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=getattr(self.inner, name))

    def ranks_that_fit(self) -> int:
        """As Ray Train's elastic policy counts them; a rank takes one CPU, and there may be three."""
        policy = ElasticScalingPolicy(
            ScalingConfig(num_workers=(1, 3), resources_per_worker={"CPU": 1.0})
        )
        self.inner.request_resources(
            "train", [{"CPU": 1.0}] * 3, 60, priority=coordinators.ResourceRequestPriority.HIGH
        )
        reserved = self.inner.get_reserved_resources("train")
        self.inner.cancel_request("train")
        return policy._count_possible_workers(reserved)


def test_the_room_of_the_pools_is_not_counted_as_the_learners(pipeline_spec, monkeypatch):
    found = Coordinator(2, 1)
    monkeypatch.setattr(claim, "coordinator", lambda: found)
    monkeypatch.setattr(ray, "get", lambda answer, timeout: answer)
    raw = with_learner(pipeline_spec, min_workers=1).model_dump(mode="json", exclude_unset=True)
    raw["resources"] |= {"rollout": {"cpus_per_actor": 0.5}, "reward": {"cpus_per_actor": 0.5}}
    spec = JobSpec.model_validate(raw)
    assert found.ranks_that_fit() == 3
    with claim_of(spec, "job-1"):
        assert found.ranks_that_fit() == 2
    assert found.ranks_that_fit() == 3


def test_a_coordinator_that_is_away_stops_nobody(pipeline_spec, monkeypatch):
    def away():
        raise ray.exceptions.RayError("gone")

    monkeypatch.setattr(claim, "coordinator", away)
    with claim_of(with_learner(pipeline_spec, min_workers=1), "job-1") as entered:
        assert isinstance(entered, claim.PoolClaim)


def test_a_group_of_one_size_claims_nothing(pipeline_spec):
    with claim_of(with_learner(pipeline_spec), "job-1") as entered:
        assert entered is None
