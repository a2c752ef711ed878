"""Continuous batching over a key-value cache that is set aside once.

Each response lives in a slot. When it ends, the last live slot moves into its place, and prompts
still waiting take what became free. Prompts are read end to end, without padding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from rlhf_service.models.ragged import Rows
from rlhf_service.records import Prompt
from rlhf_service.rollout.recorded import Recorder
from rlhf_service.rollout.sampling import Answer, sampled, uniforms
from rlhf_service.rollout.slot_cache import SlotCache
from rlhf_service.spec.ppo import SamplingSpec

REFILL = 4
"""Waiting prompts are read once one in so many slots is free: one by one they would cost more."""


class SlotSampler:
    """Samples from a network whose attention `use_ragged` replaced."""

    def __init__(
        self,
        model: PreTrainedModel,
        eos: torch.Tensor,
        slots: int,
        recorder: Recorder | None = None,
    ) -> None:
        """`recorder` plays decoding steps; without one each is worked out anew."""
        self._model, self._slots, self._recorder = model, slots, recorder
        self._eos = frozenset(eos.tolist())

    def sample(self, prompts: Sequence[Prompt], sampling: SamplingSpec, seed: int) -> list[Answer]:
        started = time.perf_counter()
        answers, device = [Answer([], []) for _ in prompts], self._model.device
        noise = uniforms(prompts, seed, sampling.max_new_tokens).to(device)
        longest = max(len(prompt.token_ids) for prompt in prompts)
        slots, width = min(self._slots, len(prompts)), longest + sampling.max_new_tokens
        cache = self._room(slots, width)
        # Alike prompts stand side by side, so that they are read once.
        waiting = sorted(range(len(prompts)), key=lambda i: prompts[i].token_ids)
        owner: list[int] = []  # whose response each live slot is
        while waiting or owner:
            free = slots - cache.live
            if waiting and free >= max(1, slots // REFILL):
                fresh, waiting = waiting[:free], waiting[free:]
                logits, first = self._read(cache, [prompts[i].token_ids for i in fresh]), len(owner)
                owner += fresh
            else:
                logits, first = self._advance(cache, [answers[i].token_ids[-1] for i in owner]), 0
            drawn = owner[first:]
            places = torch.tensor([drawn, [len(answers[i].token_ids) for i in drawn]]).to(device)
            tokens, logprobs = sampled(logits, noise[places[0], places[1]], sampling)
            done = []
            # Together: each reading of a GPU waits for all that it was given.
            read = torch.stack([tokens.double(), logprobs.double()]).tolist()
            for at, (i, token, logprob) in enumerate(zip(drawn, *read, strict=True)):
                answers[i].token_ids.append(int(token))
                answers[i].logprobs.append(logprob)
                ended = int(token) in self._eos
                if ended or len(answers[i].token_ids) == sampling.max_new_tokens:
                    done.append(first + at)
                    answers[i].seconds = time.perf_counter() - started
            for source, target in cache.release(done):
                owner[target] = owner[source]
            del owner[cache.live :]
        return answers

    def _room(self, slots: int, width: int) -> SlotCache:
        """An empty cache; what is recorded works on one cache for good."""
        if self._recorder is None:
            return SlotCache.empty(slots, width, self._model.device)
        return self._recorder.room(self._slots, width)

    def _read(self, cache: SlotCache, prompts: list[tuple[int, ...]]) -> torch.Tensor:
        """Give each prompt a slot, like ones read together. [b, V] logits of their first tokens."""
        device = self._model.device
        unlike = {tokens: row for row, tokens in enumerate(dict.fromkeys(prompts))}
        lengths = [len(tokens) for tokens in unlike]
        source = torch.tensor([unlike[tokens] for tokens in prompts], device=device)
        rows = Rows.of(lengths).to(device)
        cache.reading = (rows, source)
        cache.most = max(lengths)
        logits = self._model(
            input_ids=torch.tensor([token for tokens in unlike for token in tokens], device=device)[
                None
            ],
            position_ids=torch.cat([torch.arange(n) for n in lengths])[None].to(device),
            logits_to_keep=(torch.tensor(lengths).cumsum(0) - 1).to(device),
            past_key_values=cache,
            use_cache=True,
            rows=rows,
        ).logits[0]
        cache.reading = None
        cache.take([len(tokens) for tokens in prompts])
        return logits[source]

    def _advance(self, cache: SlotCache, tokens: list[int]) -> torch.Tensor:
        """Each live slot by its newest token. [live, V] logits of the next."""
        newest, most = torch.tensor(tokens).to(self._model.device), max(cache.held) + 1
        if self._recorder is None:
            logits = self._step(cache, newest, most)
        else:
            logits = self._recorder.step(self._step, newest, most)
        cache.advance()
        return logits

    def _step(self, cache: SlotCache, tokens: torch.Tensor, most: int) -> torch.Tensor:
        """The first slots by one token each, [rows]; [rows, V]. Reads nothing back from a GPU."""
        cache.rows, cache.most = len(tokens), most
        lengths = cache.lengths[: cache.rows]
        seen = torch.arange(most, device=lengths.device) <= lengths[:, None]
        logits: torch.Tensor = self._model(
            input_ids=tokens[:, None],
            position_ids=lengths[:, None].clone(),
            logits_to_keep=1,
            past_key_values=cache,
            use_cache=True,
            seen=seen[:, None, None],
        ).logits
        return logits[:, -1]
