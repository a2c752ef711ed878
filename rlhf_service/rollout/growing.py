"""Batches that shrink, over the network's own cache: for networks without ragged attention."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from rlhf_service.records import Prompt
from rlhf_service.rollout.decoding import Decoding
from rlhf_service.rollout.sampling import Answer, sampled, uniforms
from rlhf_service.spec.ppo import SamplingSpec


class GrowingSampler:
    """Samples batch by batch with the network's own cache; rows that end leave the batch.

    For networks that `takes_ragged` refuses.
    """

    def __init__(self, model: PreTrainedModel, eos: torch.Tensor, slots: int) -> None:
        self._model, self._eos, self._slots = model, eos, slots

    def sample(self, prompts: Sequence[Prompt], sampling: SamplingSpec, seed: int) -> list[Answer]:
        started = time.perf_counter()
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids))
        answers: dict[int, Answer] = {}
        for start in range(0, len(by_length), self._slots):
            part = by_length[start : start + self._slots]
            found = self._batch([prompts[i] for i in part], sampling, seed, started)
            answers.update(zip(part, found, strict=True))
        return [answers[i] for i in range(len(prompts))]

    def _batch(
        self, prompts: list[Prompt], sampling: SamplingSpec, seed: int, started: float
    ) -> list[Answer]:
        answers = [Answer([], []) for _ in prompts]
        noise = uniforms(prompts, seed, sampling.max_new_tokens)
        alive = torch.arange(len(prompts))
        state = Decoding.start(prompts, self._model)
        for position in range(sampling.max_new_tokens):
            logits = state.forward(self._model)
            tokens, logprobs = sampled(logits, noise[alive, position], sampling)
            for row, token, logprob in zip(
                alive.tolist(), tokens.tolist(), logprobs.tolist(), strict=True
            ):
                answers[row].token_ids.append(token)
                answers[row].logprobs.append(logprob)
                answers[row].seconds = time.perf_counter() - started
            unfinished = ~torch.isin(tokens, self._eos)
            if not unfinished.any():
                break
            state.advance(tokens, unfinished)
            alive = alive[unfinished.cpu()]
        return answers
