"""LearnerSpec → the DeepSpeed configuration. Pure."""

from __future__ import annotations

from rlhf_service.spec.learner import LearnerSpec, OptimizerSpec


def deepspeed_config(learner: LearnerSpec, optimizer: OptimizerSpec) -> dict[str, object]:
    """Configuration of one engine.

    The caller owns the accumulation boundary (`step` is it) and the loss scale, so micro-batch
    count and batch size have no say in the gradient; the figures below only satisfy the checks.
    """
    zero: dict[str, object] = {"stage": learner.zero_stage}
    if learner.zero_stage:
        zero |= {"overlap_comm": False, "contiguous_gradients": True}
    if learner.zero_stage and learner.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    if learner.zero_stage == 3:
        # Small parameters stay whole on every rank by default, which hides ZeRO-3 from small models.
        zero |= {"stage3_param_persistence_threshold": 0}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": 0.0 if clips_itself(learner) else optimizer.max_grad_norm,
        "bf16": {"enabled": learner.precision == "bf16"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def frozen_config(learner: LearnerSpec) -> dict[str, object]:
    """Of a network that does not learn, under ZeRO-3."""
    whole = deepspeed_config(learner, OptimizerSpec())
    kept = ("stage", "stage3_param_persistence_threshold")
    zero = whole["zero_optimization"]
    assert isinstance(zero, dict)
    return whole | {
        "gradient_clipping": 0.0,
        "zero_optimization": {name: zero[name] for name in kept},
    }


def clips_itself(learner: LearnerSpec) -> bool:
    """Whether the engine wrapper clips: plain fp32 DeepSpeed clips without telling the norm."""
    return learner.zero_stage == 0 and learner.precision == "fp32"
