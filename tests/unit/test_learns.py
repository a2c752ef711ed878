"""A favoured response becomes likelier, on-policy and behind."""

from __future__ import annotations

import pytest
import torch

from rlhf_service.ahead import Ahead
from rlhf_service.algorithms.rewards import RunningMoments
from rlhf_service.data.plan import RowPlan
from rlhf_service.data.rows import PromptRow
from rlhf_service.learner.group import SoloGroup
from rlhf_service.ledger import PromptLedger
from rlhf_service.ports import KEPT_VERSIONS
from rlhf_service.prompts import PromptSource
from rlhf_service.records import Rollout
from rlhf_service.sources import InStep
from rlhf_service.step import PpoRun, PpoState, ppo_step, publish
from rlhf_service.testing import FunctionReward, InProcessChannel, PullingEngine
from tests.unit.learners import engine_of, learner_of, stage_of


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_ppo_raises_the_reward_of_a_favoured_tokens(networks, lag):
    """Reward: share of tokens of the lower half, half of them at first."""
    _, tokenizer = networks
    half = len(tokenizer) // 2

    def share(rollout: Rollout) -> float:
        return sum(token < half for token in rollout.token_ids) / len(rollout.token_ids)

    stage = stage_of(epochs=2, entropy_coef=0.0).model_copy(
        update={"prompts_per_step": 48, "steps": 12 + 4 * lag, "max_staleness": lag}
    )
    learner = learner_of(networks, stage, micro_batch_size=48)
    torch.nn.init.zeros_(learner.critic.engine.module.head.weight)
    channel = InProcessChannel(KEPT_VERSIONS + lag)
    rows = [PromptRow("a", {}), PromptRow("a good", {})]
    run = PpoRun(
        stage=stage,
        seed=0,
        prompts=PromptSource(
            rows,
            [tuple(tokenizer.encode(r.prompt, add_special_tokens=False)) for r in rows],
            RowPlan(2, 48, 0),
        ),
        engine=PullingEngine(engine_of(networks), channel),
        reward=FunctionReward(share),
        metrics={},
        learner=learner,
        weights=channel,
        group=SoloGroup(),
        source=Ahead(lag) if lag else InStep(),
    )
    state = PpoState(0, 1, 0.0, RunningMoments(), PromptLedger())
    publish(run, 1)
    scores = []
    for _ in range(stage.steps):
        outcome = ppo_step(run, state)
        state = outcome.state
        scores.append(outcome.report.score_mean)
    run.source.close()
    assert scores[0] < 0.65 and sum(scores[-3:]) / 3 > 0.75, scores
    assert state.ledger.cursor == stage.steps * 48 and state.policy_version == stage.steps + 1
