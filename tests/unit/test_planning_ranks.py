"""What exchanges between ranks, and products on the way back, add to a planned step."""

from __future__ import annotations

import pytest
import torch

from rlhf_service.planning.calibration import kernels, measure
from rlhf_service.planning.calibration.engines import laps
from rlhf_service.planning.calibration.pair import beyond
from rlhf_service.planning.device import DeviceProfile, EngineCost
from rlhf_service.planning.parts import Setting
from rlhf_service.planning.plan import plan_job
from rlhf_service.spec import JobSpec
from tests.planning import machine, sft

CPU = torch.device("cpu")
EXCHANGE = EngineCost(
    per_tensor=1e-4, per_parameter=1e-9, step_per_tensor=2e-4, step_per_parameter=3e-9
)
"""Powers of ten apart from what an engine takes alone, so that a sum tells them apart."""


def with_arithmetic(**changes: object) -> DeviceProfile:
    """The made-up machine of 16 cores, its fp32 changed."""
    profile = machine(cores=16)
    fp32 = profile.threads[1]["fp32"].model_copy(update=changes)
    return profile.model_copy(update={"threads": {1: {"fp32": fp32}}})


def update_seconds(profile: DeviceProfile, ranks: int, zero: int = 2) -> float:
    spec: JobSpec = sft(
        learner={"zero_stage": zero, "micro_batch_size": 1},
        resources={"learner": {"num_workers": ranks}},
    )
    found = plan_job(spec, Setting(host=profile)).stages[0].phases["update"].value
    assert found is not None
    return found


def exchanges(ranks: int, zero: int = 2) -> float:
    """Seconds of the exchange alone: a link with no bounds takes none."""
    measured = with_arithmetic(exchanges={str(zero): EXCHANGE})
    free = with_arithmetic().model_copy(update={"link": 1e300})
    return update_seconds(measured, ranks, zero) - update_seconds(free, ranks, zero)


def test_a_rank_alone_exchanges_nothing():
    assert exchanges(1) == 0


def test_two_ranks_take_what_two_took_when_measured_and_more_as_a_ring_does():
    # A batch of 32 rows: 16 passes of each of two ranks, 8 of each of four.
    each_pass, step = {}, {}
    for ranks, ring in ((2, 1.0), (4, 1.5)):
        passes = 32 // ranks
        halved = with_arithmetic(
            exchanges={"2": EXCHANGE.model_copy(update={"per_tensor": 0, "per_parameter": 0})}
        )
        free = with_arithmetic().model_copy(update={"link": 1e300})
        step[ranks] = (update_seconds(halved, ranks) - update_seconds(free, ranks)) / ring
        each_pass[ranks] = (exchanges(ranks) / ring - step[ranks]) / passes
    assert step[2] == pytest.approx(step[4], rel=1e-6) and step[2] > 0
    assert each_pass[2] == pytest.approx(each_pass[4], rel=1e-6) and each_pass[2] > 0


def test_over_several_machines_the_network_between_them_decides():
    measured = with_arithmetic(exchanges={"2": EXCHANGE}).model_copy(
        update={"per_machine": 2, "network": 1e6}
    )
    plain = with_arithmetic().model_copy(update={"per_machine": 2, "network": 1e6})
    assert update_seconds(measured, 4) == update_seconds(plain, 4) > update_seconds(measured, 2)


def test_products_on_the_way_back_have_their_own_rate():
    curve = with_arithmetic().threads[1]["fp32"].matmul
    slow = tuple((size, rate / 10) for size, rate in curve)
    same, slower = with_arithmetic(matmul_backward=curve), with_arithmetic(matmul_backward=slow)
    assert update_seconds(same, 1) == update_seconds(with_arithmetic(), 1)
    one, ten = update_seconds(same, 1), update_seconds(slower, 1)
    free = with_arithmetic(matmul_backward=tuple((size, 1e300) for size, _ in curve))
    backward = one - update_seconds(free, 1)
    assert ten - one == pytest.approx(9 * backward, rel=1e-6)


def test_what_two_take_beyond_one_is_never_less_than_nothing():
    one = EngineCost(
        per_tensor=2e-5, per_parameter=4e-9, step_per_tensor=3e-5, step_per_parameter=8e-9
    )
    two = EngineCost(
        per_tensor=1e-5, per_parameter=6e-9, step_per_tensor=7e-5, step_per_parameter=9e-9
    )
    found = beyond(two, one, zero=1)
    assert (found.per_tensor, found.per_parameter) == (0, pytest.approx(2e-9))
    assert found.step_per_tensor == pytest.approx(4e-5)
    # Each rank steps half of them, where they are partitioned.
    assert found.step_per_parameter == pytest.approx(5e-9)
    assert beyond(two, one, zero=0).step_per_parameter == pytest.approx(1e-9)


def test_the_way_back_makes_two_products_of_each(monkeypatch):
    made = []

    def run(work, device, **_):
        made.append([tuple(product.shape) for product in work()])
        return 1.0

    monkeypatch.setattr(kernels, "fastest", run)
    assert kernels.matmul_curve(torch.float32, CPU, backward=True) == ((16.0, 2 * 2 * 16**3),)
    assert made == [[(16, 16), (16, 16)]]


def test_laps_are_the_time_between_them():
    moments = iter([10.0, 11.0, 13.5])
    lap = laps(lambda: next(moments))
    assert (next(lap), next(lap)) == (1.0, 2.5)


@pytest.mark.parametrize(("cores", "threads", "room"), [(1, 1, False), (2, 1, True), (2, 2, False)])
def test_two_ranks_are_measured_where_neither_waits_for_the_other(
    monkeypatch, cores, threads, room
):
    monkeypatch.setattr(measure.os, "cpu_count", lambda: cores)
    assert measure.has_room_for_two(CPU, threads) is room
