"""What exchanges between ranks, and products on the way back, add to a planned step."""

from __future__ import annotations

import os

import pytest
import torch

from rlhf_service.planning.activations import Pass
from rlhf_service.planning.architectures import shape_of
from rlhf_service.planning.calibration import kernels, measure, ranks
from rlhf_service.planning.calibration.pair import beyond
from rlhf_service.planning.device import DeviceProfile, EngineCost
from rlhf_service.planning.exchange import Handled, seconds_exchanged
from rlhf_service.planning.memory import Trained
from rlhf_service.planning.parts import Setting
from rlhf_service.planning.plan import plan_job
from rlhf_service.planning.states import LIVE, frozen_bytes
from rlhf_service.planning.workload import Work
from rlhf_service.spec import JobSpec, LearnerSpec
from rlhf_service.spec.adapter import LoraSpec
from tests.planning import machine, ppo, sft

CPU = torch.device("cpu")
REST = {
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 64,
}
EXCHANGE = EngineCost(
    per_tensor=1e-4, per_parameter=1e-9, step_per_tensor=2e-4, step_per_parameter=3e-9
)


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


def free(ranks: int, zero: int = 2) -> float:
    """Seconds of the update over a link that takes no time."""
    return update_seconds(with_arithmetic().model_copy(update={"link": 1e300}), ranks, zero)


@pytest.mark.parametrize(("ranks", "rounds", "passed"), [(2, 1, 1), (4, 3, 1.5), (8, 7, 1.75)])
def test_rounds_and_bytes_grow_with_a_ring(ranks, rounds, passed):
    one = Pass(rows=1, length=8, predicted=8, learnt=8)
    work = Work(update=one, updates=3, optimizer_steps=2, loss="language")
    handled = Handled(tensors=5, parameters=1e6, step_tensors=7, step_parameters=2e6)
    each_pass = rounds * 5e-4 + passed * 1e-3
    step = rounds * 14e-4 + passed * 6e-3
    found = seconds_exchanged(EXCHANGE, work, handled, ranks)
    assert found == pytest.approx(3 * each_pass + 2 * step)


def test_only_zero_3_handles_what_does_not_learn():
    shape = shape_of({"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, **REST})
    lora = LoraSpec(rank=4)
    adapter = shape.adapter(lora)
    trained = Trained(shape=shape, parameters=100_000, lora=lora)
    learnt = 2 * 2 * len(shape.block)
    two, three = Handled.of(trained, 2), Handled.of(trained, 3)
    assert (two.tensors, two.parameters) == (learnt, adapter)
    assert three.tensors == learnt + shape.tensors
    assert three.parameters == pytest.approx(adapter + 2 / 3 * 100_000)
    for found in (two, three):
        assert (found.step_tensors, found.step_parameters) == (learnt, adapter)
    whole = Handled.of(Trained(shape=shape, parameters=100_000), 3)
    assert (whole.tensors, whole.parameters) == (shape.tensors, 100_000)


def test_a_plan_adds_what_two_ranks_exchange_and_one_exchanges_nothing():
    measured = with_arithmetic(exchanges={"2": EXCHANGE})
    assert update_seconds(measured, 1) == free(1)
    # 16 passes of each rank and a step, over a network of hundreds of thousands of weights.
    assert update_seconds(measured, 2) - free(2) > 16 * 40 * EXCHANGE.per_tensor


def test_ranks_that_share_a_core_exchange_as_much_slower():
    measured = with_arithmetic(exchanges={"2": EXCHANGE})
    crowded = measured.model_copy(update={"cores": 1})
    assert update_seconds(crowded, 2) == pytest.approx(2 * update_seconds(measured, 2))


def test_a_stage_that_was_not_measured_is_planned_by_the_link():
    some = with_arithmetic(exchanges={"2": EXCHANGE})
    assert update_seconds(some, 2, zero=1) == update_seconds(with_arithmetic(), 2, zero=1)


def test_zero_1_passes_the_gradient_once_and_zero_2_with_every_microbatch():
    slow = with_arithmetic().model_copy(update={"link": 1e6})
    one, two = (update_seconds(slow, 2, zero) - free(2, zero) for zero in (1, 2))
    assert two / one == pytest.approx((16 + 0.5) / (1 + 0.5))


def test_copies_of_gradients_count_in_every_pass():
    engine = with_arithmetic().threads[1]["fp32"].engines["2"]
    copying = with_arithmetic(engines={"2": engine.model_copy(update={"per_parameter": 1e-6})})
    one, two = (update_seconds(copying, ranks) - free(ranks) for ranks in (1, 2))
    link = update_seconds(with_arithmetic(), 2) - free(2)
    assert two - link == pytest.approx(one / 2) and one > 32 * 0.1


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
    instant = with_arithmetic(matmul_backward=tuple((size, 1e300) for size, _ in curve))
    backward = one - update_seconds(instant, 1)
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


def test_a_rank_tells_deepspeed_its_own_gpu_and_leaves_no_trace(monkeypatch, tmp_path):
    """DeepSpeed moves a process to the GPU that LOCAL_RANK names."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    chosen = []
    monkeypatch.setattr(ranks.dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(ranks.dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    with ranks.joined(ranks.device_of("cuda", 1), tmp_path, 1, 2):
        assert os.environ["LOCAL_RANK"] == "1"
    assert os.environ["LOCAL_RANK"] == "0" and chosen == [torch.device("cuda", 1)]


@pytest.mark.parametrize(("cores", "threads", "room"), [(1, 1, False), (2, 1, True), (2, 2, False)])
def test_two_ranks_are_measured_where_neither_waits_for_the_other(
    monkeypatch, cores, threads, room
):
    monkeypatch.setattr(measure.os, "cpu_count", lambda: cores)
    assert measure.has_room_for_two(CPU, threads) is room


def test_few_rows_have_their_own_rates_between_those_measured():
    def slow(factor):
        return tuple((size, rate * factor) for size, rate in plain.matmul)

    plain = with_arithmetic().threads[1]["fp32"]
    few = plain.model_copy(update={"matmul_rows": {1: slow(0.1), 64: slow(0.4)}})
    for rows, factor in ((1, 0.1), (8, 0.2), (64, 0.4)):
        wanted = 2 * rows * 256 * 256 / (factor * 5e10)
        assert few.product_of_rows(rows, 256, 256) == pytest.approx(wanted)
    # The matrix's size counts, not its shape; and many rows are as quick as a cube.
    assert few.product_of_rows(8, 64, 1024) == pytest.approx(few.product_of_rows(8, 256, 256))
    assert few.product_of_rows(65, 256, 256) == few.product(65, 256, 256)
    assert plain.product_of_rows(8, 256, 256) == plain.product(8, 256, 256)


def test_few_rows_are_measured_with_one_matrix_after_the_other(monkeypatch):
    used = []
    monkeypatch.setattr(kernels, "linear", lambda few, matrix: used.append((len(few), matrix)))
    monkeypatch.setattr(kernels, "fastest", lambda work, *_, **__: work() or 0.5)
    found = kernels.matmul_rows(torch.float32, CPU)
    assert found.keys() == {1, 8, 64}
    assert [size for size, _ in found[8]] == [64, 256, 1024, 2048]
    assert found[8][1] == (256.0, kernels.TURNS * 2 * 8 * 256**2 / 0.5)
    asked = [(rows, matrix.shape) for rows, matrix in used if matrix.shape == (256, 256)]
    assert asked == [(rows, (256, 256)) for rows in (1, 8, 64) for _ in range(kernels.TURNS)]
    places = {matrix.data_ptr() for rows, matrix in used if rows == 8 and matrix.shape == (64, 64)}
    assert len(places) == kernels.TURNS


def annotate_seconds(profile: DeviceProfile, ranks: int, zero: int) -> float:
    spec = ppo(
        learner={"zero_stage": zero, "micro_batch_size": 1},
        resources={"learner": {"num_workers": ranks}},
    )
    found = plan_job(spec, Setting(host=profile)).stages[-1].phases["annotate"].value
    assert found is not None
    return found


def test_what_answers_under_zero_3_is_gathered_too():
    two, three = (annotate_seconds(with_arithmetic(), 1, zero) for zero in (2, 3))
    assert three > two  # hooks
    plain, slow = with_arithmetic(), with_arithmetic().model_copy(update={"link": 1e6})
    assert annotate_seconds(slow, 2, 2) == annotate_seconds(plain, 2, 2)
    assert annotate_seconds(slow, 2, 3) > 100 * annotate_seconds(plain, 2, 3)
    measured = with_arithmetic(exchanges={"3": EXCHANGE})
    free_of = with_arithmetic(exchanges={"3": EXCHANGE.model_copy(update={"per_tensor": 0.0})})
    assert annotate_seconds(measured, 2, 3) > annotate_seconds(free_of, 2, 3)


def test_a_frozen_network_is_cut_up_under_zero_3():
    parameters = 10_000_000
    for zero in range(3):
        held = frozen_bytes(LearnerSpec(zero_stage=zero), 4, 2, parameters)
        assert held == 2 * parameters
    assert frozen_bytes(LearnerSpec(zero_stage=3), 4, 2, parameters) == 2 * parameters * 1.25
    large = 8 * LIVE
    assert frozen_bytes(LearnerSpec(zero_stage=3), 64, 2, large) == 2 * LIVE * (1 / 8 + 1)
