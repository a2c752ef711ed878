"""What a driver does with its cluster's growth."""

from __future__ import annotations

import pytest

import cluster.host
from api.reconcile.attempts import driver_environment
from api.settings import Settings
from api.store.tables import JobRow
from cluster.growth import growth_seconds, waits_for_growth
from cluster.host import PoolHost
from cluster.watchdog import LearnerPost
from rlhf_service.errors import LauncherError
from rlhf_service.launching import GROWTH_VARIABLE, Capacity
from tests.planning import ppo

JOB = JobRow(id="job-1", traceparent=None)


def test_a_driver_is_told_where_the_cluster_grows():
    assert GROWTH_VARIABLE not in driver_environment(JOB, Settings())
    grows = Settings(cluster_max_gpus=8, cluster_growth_seconds=1200)
    assert growth_seconds(driver_environment(JOB, grows)) == 1200
    assert growth_seconds({}) == 0


def test_a_cluster_never_counts_as_smaller_than_it_is():
    assert Capacity(2, 1).grown(Capacity(8, 0)) == Capacity(8, 1)
    assert Capacity(16, 0).grown(Capacity(8, 0)) == Capacity(16, 0)
    assert Capacity(0, 0).nothing and not Capacity(0, 1).nothing


def test_what_a_driver_waits_for_is_said():
    spec = ppo()  # a learner, and two actors of a quarter of a CPU each
    assert waits_for_growth(spec, {"CPU": 1.5}, 900) == ""
    assert waits_for_growth(spec, {}, 900) == (
        "waiting up to 900 s for the cluster to grow: needs 1.5 CPUs, it has 0"
    )
    on_gpus = {"learner": {"num_workers": 2, "gpus_per_worker": 1}}
    said = waits_for_growth(ppo(resources=on_gpus), {"CPU": 8, "GPU": 1}, 60)
    assert said.endswith("needs 2 GPUs, it has 1")


@pytest.mark.parametrize(("growth", "seconds"), [("", 120), ("900", 1020)])
def test_pools_wait_for_room_as_long_as_it_may_take(monkeypatch, tmp_path, growth, seconds):
    if growth:
        monkeypatch.setenv(GROWTH_VARIABLE, growth)
    waited: list[float] = []

    class Group:
        def wait(self, timeout: float) -> bool:
            waited.append(timeout)
            return False

    monkeypatch.setattr(cluster.host, "placement_group", lambda *_, **__: Group())
    with pytest.raises(LauncherError, match=f"within {seconds} s"):
        PoolHost(ppo(), "job-1", tmp_path).__enter__()
    assert waited == [seconds]


class Silent:
    """Learners that have said nothing for a quarter of an hour."""

    started = False

    def silence(self) -> float:
        return 900.0

    def last_phase(self) -> str:
        return "start"


def test_learners_whose_nodes_are_to_come_are_not_stalled_yet():
    assert LearnerPost(Silent(), 60).look([], 0.0) is not None
    assert LearnerPost(Silent(), 60, growth=600).look([], 0.0) is None
    trains = Silent()
    trains.started = True
    assert LearnerPost(trains, 60, growth=6000).look([], 0.0) is not None
