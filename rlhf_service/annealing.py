"""Values on a ramp, as pure functions of the step: nothing to save in a checkpoint."""

from __future__ import annotations

from rlhf_service.spec.annealing import Ramp
from rlhf_service.spec.ppo import SamplingSpec
from rlhf_service.spec.stages import PpoStage


def on_ramp(ramp: Ramp | None, start: float, step: int, total_steps: int) -> float:
    """Value at step `step` (0 is the first): `start` there, `ramp.to` on the ramp's last step."""
    if ramp is None:
        return start
    last = (ramp.steps or total_steps) - 1
    done = min(1.0, step / last) if last else 1.0
    return start + (ramp.to - start) * done


def sampling_at(stage: PpoStage, step: int) -> SamplingSpec:
    """How step `step` (0 is the first) samples."""
    ramp = stage.annealing.temperature
    if ramp is None:
        return stage.sampling
    temperature = on_ramp(ramp, stage.sampling.temperature, step, stage.steps)
    return stage.sampling.model_copy(update={"temperature": temperature})


def entropy_coef_at(stage: PpoStage, step: int) -> float:
    """Weight of the entropy bonus at step `step` (0 is the first)."""
    return on_ramp(stage.annealing.entropy_coef, stage.ppo.entropy_coef, step, stage.steps)
