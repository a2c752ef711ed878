"""Processes that are measured: two that train together, by real DeepSpeed; others on a Ray."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rlhf_service.planning.calibration.pair import PairFailed, exchange_costs
from rlhf_service.planning.device import EngineCost

NOTHING = EngineCost(per_tensor=0, per_parameter=0, step_per_tensor=0, step_per_parameter=0)


@pytest.fixture(autouse=True)
def on_the_processor(monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")


def test_what_two_ranks_take_is_measured_at_the_stages_asked_for():
    found = exchange_costs("cpu", 1, {"fp32": {"2": NOTHING}})
    assert list(found) == ["fp32"] and list(found["fp32"]) == ["2"]
    # Against nothing, all they take counts: an Adam step alone is well above this.
    assert found["fp32"]["2"].step_per_parameter > 1e-9


def test_processes_that_cannot_train_together_say_why():
    with pytest.raises(PairFailed, match="positive"):
        exchange_costs("cpu", 0, {"fp32": {"2": NOTHING}})


def test_its_own_ray_starts_from_a_shell_that_says_nothing_of_ray():
    """Ray reads RAY_AUTH_MODE when it is imported, so it has to be said before."""
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RLHF_"))
    }
    weighing = (
        "from cluster.calibrate import own_ray, weigh\n"
        "with own_ray(): print(weigh(('json',)))\n"
        "import os; assert 'RAY_AUTH_MODE' not in os.environ"
    )
    done = subprocess.run(
        [sys.executable, "-c", weighing],
        env=bare,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 20 * 2**20
