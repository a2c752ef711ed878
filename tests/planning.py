"""A made-up machine and jobs, for tests of the planner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlhf_service.planning.device import (
    Arithmetic,
    DeviceProfile,
    EngineCost,
    LayerCost,
    LossCost,
    NetworkCost,
)
from rlhf_service.spec import JobSpec

GIB = 2**30


def machine(memory: int = 16 * GIB, **changes: Any) -> DeviceProfile:
    """A CPU of round figures: a small call takes 0.1 ms, a product 50 GFLOP/s."""
    cost = LayerCost(per_call=1e-4, per_byte=1e-10)
    network = NetworkCost(forward=cost, backward=cost, decode=1e-4)
    arithmetic = Arithmetic(
        matmul=((16, 1e10), (256, 5e10)),
        networks={family: network for family in ("llama", "gpt2", "lstm", "encoder")},
        losses={
            "language": LossCost(forward=1e-9, backward=1e-9),
            "policy": LossCost(forward=2e-9, backward=2e-9),
        },
        engines={
            str(zero): EngineCost(per_tensor=1e-5, step_per_tensor=1e-5, step_per_parameter=1e-8)
            for zero in range(4)
        },
        decode_call=1e-4,
        draw=1e-9,
    )
    figures: dict[str, Any] = {
        "name": "made up",
        "kind": "cpu",
        "source": "measured",
        "memory": memory,
        "cores": 4,
        "bandwidth": 1e10,
        "link": 1e9,
        "store": 1e9,
        "digest": 1e9,
        "baseline": dict.fromkeys(
            ("driver", "learner", "rollout", "reward", "scorer", "weights"), 400 * 2**20
        ),
        "threads": {1: {"fp32": arithmetic, "bf16": arithmetic}},
    }
    return DeviceProfile.model_validate(figures | changes)


def sft(tmp: Path = Path("/data"), **changes: Any) -> JobSpec:
    """Finetuning a scratch network; `changes` are of the job."""
    stage = {"type": "sft", "data": {"path": str(tmp / "rows.jsonl")}, "batch_size": 32}
    model = {"type": "scratch", "hidden_size": 256, "num_layers": 4, "context_length": 512}
    return JobSpec.model_validate({"model": model, "stages": [stage], **changes})


def ppo(tmp: Path = Path("/data"), stage: dict[str, Any] | None = None, **changes: Any) -> JobSpec:
    """SFT, a reward model, and PPO against it."""
    rows = {"path": str(tmp / "rows.jsonl")}
    judged = {"type": "reward_model", "model": {"type": "stage", "stage": "reward"}}
    stages = [
        {"type": "sft", "data": rows, "max_length": 32},
        {"type": "reward", "data": rows, "max_length": 32},
        {"type": "ppo", "prompts": rows, "reward": judged, **(stage or {})},
    ]
    model = {"type": "scratch", "hidden_size": 128, "num_layers": 2}
    return JobSpec.model_validate({"model": model, "stages": stages, **changes})
