"""Nearness of meaning: the cosine of two texts' embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rlhf_service.models.encoder import load_encoder
from rlhf_service.models.tokenizer import load_tokenizer
from rlhf_service.records import Rollout, ScoreOutcome
from rlhf_service.reward.base import render
from rlhf_service.reward.similarity import scored
from rlhf_service.spec.graders import TextSimilarityReward

MAX_ROWS = 64


@dataclass(frozen=True, slots=True)
class Embedder:
    """Texts → unit vectors: the mean of their tokens' last hidden states (arXiv 1908.10084)."""

    network: torch.nn.Module
    tokenizer: Any
    max_length: int | None

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """[n, d] fp32 on the CPU."""
        device = next(self.network.parameters()).device
        parts = []
        for start in range(0, len(texts), MAX_ROWS):
            read = self.tokenizer(
                list(texts[start : start + MAX_ROWS]),
                padding=True,
                truncation=self.max_length is not None,
                max_length=self.max_length,
                return_tensors="pt",
            ).to(device)
            mask = read["attention_mask"]
            hidden = self.network(input_ids=read["input_ids"], attention_mask=mask)
            summed = (hidden.last_hidden_state * mask[..., None]).sum(dim=1)
            mean = summed / mask.sum(dim=1, keepdim=True).clamp(min=1)
            parts.append(torch.nn.functional.normalize(mean.float(), dim=1).cpu())
        return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class Cosine:
    """Scores one rendered template by its embedding's cosine to another's."""

    spec: TextSimilarityReward
    embed: Embedder

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        texts = [render(self.spec.input, rollout) for rollout in rollouts]
        references = [render(self.spec.reference, rollout) for rollout in rollouts]
        distinct = list(dict.fromkeys([*texts, *references]))
        vectors = dict(zip(distinct, self.embed(distinct), strict=True))
        return [
            scored(
                self.spec.name,
                float(vectors[text] @ vectors[reference]),
                self.spec.pass_threshold,
            )
            for text, reference in zip(texts, references, strict=True)
        ]


def embedding_similarity(spec: TextSimilarityReward, folder: Path, device: str) -> Cosine:
    """Raises ModelError."""
    network = load_encoder(folder).eval().to(device)
    most = getattr(network.config, "max_position_embeddings", None)
    return Cosine(spec, Embedder(network, load_tokenizer(folder), most))
