"""PPO steps whose responses vLLM draws, all in one process: no Ray, no DeepSpeed, the same stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_service.events import EvaluationCompleted, StepCompleted
from rlhf_service.ports import RolloutEngine, WeightChannel
from rlhf_service.rollout.build import build_served
from rlhf_service.spec import JobSpec, VllmEngineSpec
from rlhf_service.stages.context import StopRequested
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.testing import FunctionReward, LocalPools, PullingEngine
from tests.small import pipeline_of, stage_context, write_corpus

STEPS = 6
SETTINGS = VllmEngineSpec(cache_gib=0.1, max_length=32)


class VllmPools(LocalPools):
    """Pools in this process, with vLLM as their engine."""

    def rollouts(self, model: Path, weights: WeightChannel) -> RolloutEngine:
        return PullingEngine(build_served(SETTINGS, model, "fp32", "cpu", 1), weights)


def short_job(folder: Path) -> JobSpec:
    wanted = pipeline_of(write_corpus(folder)).model_dump(mode="json")
    ppo = wanted["stages"][2] | {"steps": STEPS + 1, "critic": None}
    ppo["evaluation"] |= {"every": STEPS}
    ppo |= {"reward": {"type": "length", "target": 4}, "gate": {"max_logprob_difference": 1e-3}}
    ppo["optimizer"] |= {"learning_rate": 1e-2}
    ppo["sampling"] |= {"temperature": 0.8}
    wanted["stages"] = [ppo]
    wanted["model"] |= {"hidden_size": 64, "num_heads": 2}
    wanted["rollout"] = {"engine": SETTINGS.model_dump(mode="json")}
    return JobSpec.model_validate(wanted)


def test_the_gate_holds_and_every_step_is_drawn_by_the_newest_weights(tmp_path):
    shorter = FunctionReward(lambda rollout: -float(len(rollout.token_ids)))

    def stop(stage: str, step: int) -> None:
        if step == STEPS:  # what comes after the steps needs packages that this environment lacks
            context.folder.stop_flag.touch()

    pools = VllmPools(shorter)
    context = stage_context(short_job(tmp_path), tmp_path / "job", pools=pools, progress=stop)
    with pytest.raises(StopRequested):
        run_pipeline(context)
    events = context.sink.events
    steps = [event for event in events if isinstance(event, StepCompleted)]
    assert [event.report.policy_version for event in steps] == list(range(1, STEPS + 1))
    # Drawn by older weights, the trainer's log-probs of the same tokens would differ by far more.
    assert max(event.report.sampler_difference_max for event in steps) < 1e-3
    assert max(event.report.approx_kl for event in steps) > 1e-2
    before, after = [event for event in events if isinstance(event, EvaluationCompleted)]
    assert after.mean > before.mean
