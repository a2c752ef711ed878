"""Learners and engines over a network of two layers, all in one process."""

from __future__ import annotations

import copy

import torch

from rlhf_service.learner.critic import EngineCritic
from rlhf_service.learner.group import SoloGroup
from rlhf_service.learner.ppo import PpoLearner
from rlhf_service.models.digest import digests
from rlhf_service.models.heads import ValueModel
from rlhf_service.ports import WeightSnapshot
from rlhf_service.records import Prompt
from rlhf_service.rollout.transformers import TransformersEngine
from rlhf_service.spec import DataSpec, LearnerSpec, OptimizerSpec, PpoSpec, PpoStage, SamplingSpec
from rlhf_service.spec.reward import LengthReward
from rlhf_service.testing import PlainEngine


class GradientEngine(PlainEngine):
    """Keeps the gradient of each step instead of applying it."""

    def step(self, learning_rate: float) -> float:
        self.gradient = {n: p.grad.clone() for n, p in self.module.named_parameters()}
        return 1.0


def stage_of(**ppo) -> PpoStage:
    return PpoStage(
        prompts=DataSpec(path="unused"),
        reward=LengthReward(target=4),
        sampling=SamplingSpec(max_new_tokens=9, temperature=0.8),
        ppo=PpoSpec(**({"epochs": 1, "entropy_coef": 0.01} | ppo)),
        optimizer=OptimizerSpec(learning_rate=1e-2, max_grad_norm=100),
        critic_optimizer=OptimizerSpec(learning_rate=1e-2, max_grad_norm=100),
    )


def learner_of(networks, stage, engine=PlainEngine, **learner) -> PpoLearner:
    model, _ = networks
    critic = ValueModel.of(copy.deepcopy(model))
    torch.manual_seed(5)
    torch.nn.init.normal_(critic.head.weight)
    return PpoLearner(
        policy=engine(copy.deepcopy(model), stage.optimizer),
        critic=EngineCritic(engine(critic, stage.critic_optimizer), stage.ppo.value_clip),
        reference=copy.deepcopy(model),
        stage=stage,
        learner=LearnerSpec(**learner),
        group=SoloGroup(),
        device=torch.device("cpu"),
        seed=0,
    )


def prompts_of(tokenizer, count: int) -> list[Prompt]:
    texts = ["a", "a good", "a bad film a", "film"]
    return [
        Prompt(
            position=i,
            sample=0,
            row=i,
            text=texts[i % 4],
            token_ids=tuple(tokenizer.encode(texts[i % 4], add_special_tokens=False)),
        )
        for i in range(count)
    ]


def engine_of(networks) -> TransformersEngine:
    model, tokenizer = networks
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    engine.load_weights(WeightSnapshot(1, digests(state), state))
    return engine
