"""Two processes that train together to be measured: real DeepSpeed, no Ray."""

from __future__ import annotations

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
