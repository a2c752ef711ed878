"""Reward modelling: Bradley–Terry on preference pairs (Stiennon et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from rlhf_service.data.tokens import PairRow, collate_sequences, encode_preferences
from rlhf_service.learner.base import Engine
from rlhf_service.models.adapter import in_precision_of
from rlhf_service.models.encoder import load_scorer_base
from rlhf_service.models.heads import RewardModel
from rlhf_service.spec.stages import RewardStage
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.finish import model_card
from rlhf_service.stages.loop import run_steps
from rlhf_service.stages.preference import PreferenceTrainer, microbatches, pairs_of
from rlhf_service.stages.start import Start, base_folder, require_length, start

CENTRING_PAIRS = 256
"""Pairs whose mean score becomes 0."""


def run_reward(context: StageContext, stage: RewardStage, field: str) -> None:
    """Train, centre, then export the reward model. `field` is the stage's place in the spec."""
    pairs, held_out = pairs_of(context, stage, field)
    begun = start(context, stage, lambda: (p.text() for p in pairs), load_scorer_base)
    require_length(begun, stage.max_length, f"{field}.max_length")
    network = scorer_on(begun.model, context, stage, begun)
    engine = context.engines(network, stage.optimizer)
    scores = PairScores(context, engine)
    encoded = encode_preferences(pairs, begun.tokenizer, stage.max_length)
    held_out_encoded = encode_preferences(held_out, begun.tokenizer, stage.max_length)
    trainer = PreferenceTrainer(
        context,
        stage,
        engine,
        scores,
        encoded,
        held_out_encoded,
        center_coef=stage.center_coef,
    )
    run_steps(context, trainer)
    bias = -mean_score(context, scores, (held_out_encoded or encoded)[:CENTRING_PAIRS])
    state = engine.full_state()
    if state is not None:
        figures = {"validation_accuracy": trainer.validation_accuracy}
        card = model_card(context, stage, figures)
        if stage.adapter is not None:
            network, state = merged(context, stage, begun, state)
        network.export(context.folder.stage_model(stage.name), state, begun.tokenizer, bias, card)
    context.group.barrier()


def scorer_on(
    base: PreTrainedModel, context: StageContext, stage: RewardStage, begun: Start
) -> RewardModel:
    """A reward model on the trunk of `base`, frozen under a fresh adapter when the stage has one."""
    network = RewardModel.of(base, seed=context.spec.seed)
    if stage.adapter is not None:
        network.adapt(stage.adapter, context.spec.seed, base_folder(begun))
    return network


def merged(
    context: StageContext, stage: RewardStage, begun: Start, learnt: dict[str, torch.Tensor]
) -> tuple[RewardModel, dict[str, torch.Tensor]]:
    """The reward model with its adapter in its weights, in the adapter's precision."""
    fresh = scorer_on(load_scorer_base(base_folder(begun)), context, stage, begun)
    network = fresh.merged(learnt)
    return network, in_precision_of(learnt, network)


@dataclass(frozen=True, slots=True)
class PairScores:
    """One score for each whole sequence."""

    context: StageContext
    engine: Engine

    def __call__(self, pairs: Sequence[PairRow]) -> tuple[torch.Tensor, torch.Tensor]:
        sequences = [p.chosen for p in pairs] + [p.rejected for p in pairs]
        batch = collate_sequences(sequences).to(self.context.device)
        scores = self.engine.module(batch.input_ids, batch.attention_mask).float()
        return scores[: len(pairs)], scores[len(pairs) :]


@torch.no_grad()
def mean_score(context: StageContext, scores: PairScores, pairs: Sequence[PairRow]) -> float:
    """Mean score over both answers of `pairs`. The same on every rank."""
    parts = microbatches(context, pairs)
    return sum(float(s.sum()) for part in parts for s in scores(part)) / (2 * len(pairs))
