"""The scalar of a reward model trained here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from rlhf_service.data.messages import turns_in
from rlhf_service.data.tokens import TokenIds, collate_sequences, judged_ids
from rlhf_service.models.heads import RewardModel
from rlhf_service.models.tokenizer import load_tokenizer
from rlhf_service.records import Rollout, Score, ScoreOutcome

MAX_ROWS = 32


class RewardModelScorer:
    """Scores prompt, response and EOS as the reward model saw them in training.

    Text is re-encoded with the reward model's own tokenizer, so the policy may have another. What
    does not fit the reward model's context is cut on the right, as in training.
    """

    def __init__(self, name: str, model: RewardModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._name, self._model, self._tokenizer = name, model.eval(), tokenizer

    @classmethod
    def load(cls, name: str, folder: Path, device: torch.device) -> RewardModelScorer:
        """From a reward stage's folder. Raises ModelError."""
        return cls(name, RewardModel.load(folder).to(device), load_tokenizer(folder))

    @torch.no_grad()
    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        sequences = [self._sequence(rollout) for rollout in rollouts]
        by_length = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        values = [0.0] * len(sequences)
        for start in range(0, len(by_length), MAX_ROWS):
            part = by_length[start : start + MAX_ROWS]
            for index, value in zip(part, self._forward([sequences[i] for i in part]), strict=True):
                values[index] = value
        return [Score(value=value, components={self._name: value}) for value in values]

    def _sequence(self, rollout: Rollout) -> TokenIds:
        most = getattr(self._model.classifier.config, "max_position_embeddings", None)
        prompt = rollout.prompt
        ids = judged_ids(prompt.text, turns_in(prompt.item), rollout.text, self._tokenizer)
        return ids[:most]

    def _forward(self, sequences: list[TokenIds]) -> list[float]:
        device = next(self._model.parameters()).device
        batch = collate_sequences(sequences).to(device)
        scores = self._model(batch.input_ids, batch.attention_mask)
        return [float(score) for score in scores]
