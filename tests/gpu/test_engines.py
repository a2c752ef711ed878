"""DeepSpeed on a GPU against plain torch on the CPU: the same steps, and checkpoints that come back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlhf_service.learner.base import Engine
from rlhf_service.learner.deepspeed import DeepSpeedEngines
from rlhf_service.learner.group import TorchGroup
from rlhf_service.models.digest import digests
from rlhf_service.spec import LearnerSpec, OptimizerSpec
from rlhf_service.testing import PlainEngine
from tests.integration.engine_worker import make_network

pytestmark = pytest.mark.gpu

ADAM = OptimizerSpec(max_grad_norm=0.05)
FP32, BF16 = 1e-4, 0.1
"""How far steps may be apart, relative."""

CASES = {
    "zero 0": ({"zero_stage": 0}, FP32),
    "zero 1": ({"zero_stage": 1}, FP32),
    "zero 2": ({"zero_stage": 2}, FP32),
    "zero 3": ({"zero_stage": 3}, FP32),
    "zero 2, offloaded": ({"zero_stage": 2, "offload_optimizer": True}, FP32),
    "zero 3, offloaded": ({"zero_stage": 3, "offload_optimizer": True}, FP32),
    "zero 0, bf16": ({"zero_stage": 0, "precision": "bf16"}, BF16),
    "zero 1, bf16": ({"zero_stage": 1, "precision": "bf16"}, BF16),
    "zero 3, bf16": ({"zero_stage": 3, "precision": "bf16"}, BF16),
}


def three_steps(engine: Engine, device: torch.device, dtype: torch.dtype) -> list[float]:
    """Gradient norms of the same three steps."""
    inputs = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(1))
    targets = torch.randint(0, 4, (3, 8), generator=torch.Generator().manual_seed(2))
    norms = []
    for x, y in zip(inputs, targets, strict=True):
        logits = engine.module(x.to(device, dtype)).float()
        engine.backward(torch.nn.functional.cross_entropy(logits, y.to(device)))
        norms.append(engine.step(1e-2))
    return norms


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
@pytest.mark.parametrize("case", CASES)
def test_steps_are_those_of_plain_torch_and_a_checkpoint_brings_them_back(
    device: torch.device, tmp_path: Path, case: str, adapter: bool
) -> None:
    settings, tolerance = CASES[case]
    learner = LearnerSpec.model_validate(settings)
    dtype = torch.bfloat16 if learner.precision == "bf16" else torch.float32
    plain = PlainEngine(make_network(adapter), ADAM)
    wanted = three_steps(plain, torch.device("cpu"), torch.float32)
    engine = DeepSpeedEngines(learner, device)(make_network(adapter), ADAM)
    assert three_steps(engine, device, dtype) == pytest.approx(wanted, rel=tolerance)
    found = engine.full_state()
    assert found is not None
    for name, tensor in plain.full_state().items():
        assert found[name].device.type == "cuda"
        torch.testing.assert_close(
            found[name].float().cpu(), tensor, rtol=tolerance, atol=tolerance * 0.2
        )
    before = digests(found)
    engine.save(tmp_path / "state")
    three_steps(engine, device, dtype)
    spoilt = engine.full_state()
    assert spoilt is not None and digests(spoilt) != before
    engine.load(tmp_path / "state")
    again = engine.full_state()
    assert again is not None and digests(again) == before
    engine.close()


def test_ranks_talk_over_nccl_about_what_lies_on_the_cpu(device: torch.device) -> None:
    group = TorchGroup(device)
    figures = torch.tensor([1.5, 2.5], dtype=torch.float64)
    assert torch.equal(group.sum(figures), figures)
    assert group.sum(figures).device.type == "cpu"
    assert group.gather({"rank": group.rank}) == [{"rank": 0}]
    assert group.broadcast("word") == "word"
    group.barrier()
