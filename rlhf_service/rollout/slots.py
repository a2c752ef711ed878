"""Continuous batching over a key-value cache that is set aside once.

Each response lives in a slot. When it ends, the last live slot moves into its place, and prompts
still waiting take what became free. Prompts are read end to end, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from rlhf_service.models.ragged import Rows
from rlhf_service.records import Prompt
from rlhf_service.rollout.sampling import Answer, sampled, uniforms
from rlhf_service.spec.ppo import SamplingSpec

REFILL = 4
"""Waiting prompts are read once one in so many slots is free: one by one they would cost more."""


@dataclass(slots=True)
class SlotCache:
    """Keys and values of every slot, layer by layer; the first `live` slots are in use.

    It is given to the network as its cache.
    """

    slots: int
    width: int
    """Most tokens of a response with its prompt."""
    lengths: torch.Tensor
    """[slots] tokens held."""
    live: int = 0
    keys: list[torch.Tensor] = field(default_factory=list)
    """Of each layer [slots, H, width, D]."""
    values: list[torch.Tensor] = field(default_factory=list)
    reading: tuple[Rows, torch.Tensor] | None = None
    """While prompts are read: where they lie, and which of them each new slot goes on from."""
    most: int = 0
    """Tokens held by the fullest live slot, the one under way included."""

    @classmethod
    def empty(cls, slots: int, width: int, device: torch.device) -> SlotCache:
        return cls(slots, width, torch.zeros(slots, dtype=torch.long, device=device))

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hold what layer `layer` made of the tokens under way; what they may attend to."""
        if layer == len(self.keys):
            shape = (self.slots, key.shape[1], self.width, key.shape[3])
            # Zeros: what no token has written is masked, but must be a number.
            self.keys.append(key.new_zeros(shape))
            self.values.append(value.new_zeros(shape))
        if self.reading is not None:
            rows, source = self.reading
            fresh = slice(self.live, self.live + len(source))
            for held, new in ((self.keys[layer], key), (self.values[layer], value)):
                apart = rows.apart(new)
                held[fresh, :, : apart.shape[2]] = apart[source]
            return key, value
        at, place = torch.arange(self.live, device=key.device), self.lengths[: self.live]
        for held, new in ((self.keys[layer], key), (self.values[layer], value)):
            held[at, :, place] = new[:, :, 0]
        seen = (slice(self.live), slice(None), slice(self.most))
        return self.keys[layer][seen], self.values[layer][seen]

    def get_seq_length(self, layer: int = 0) -> int:
        """What networks ask of any cache, like the next two; positions and mask are given here."""
        return self.most

    def get_query_offset(self, layer: int | None = 0) -> int:
        return 0

    def get_mask_sizes(self, new: int, layer: int | None = 0) -> tuple[int, int]:
        return self.most, 0

    def release(self, slots: Sequence[int]) -> list[tuple[int, int]]:
        """Free `slots`, filling each gap by the last live one. The moves made, as (from, to)."""
        moves = []
        for slot in sorted(slots, reverse=True):
            self.live -= 1
            if slot != self.live:
                length = int(self.lengths[self.live])
                for held in (*self.keys, *self.values):
                    held[slot, :, :length] = held[self.live, :, :length]
                self.lengths[slot] = length
                moves.append((self.live, slot))
        return moves


class SlotSampler:
    """Samples from a network whose attention `use_ragged` replaced."""

    def __init__(self, model: PreTrainedModel, eos: torch.Tensor, slots: int) -> None:
        self._model, self._eos, self._slots = model, eos, slots

    def sample(self, prompts: Sequence[Prompt], sampling: SamplingSpec, seed: int) -> list[Answer]:
        answers = [Answer([], []) for _ in prompts]
        noise = uniforms(prompts, seed, sampling.max_new_tokens).to(self._model.device)
        longest = max(len(prompt.token_ids) for prompt in prompts)
        slots, width = min(self._slots, len(prompts)), longest + sampling.max_new_tokens
        cache = SlotCache.empty(slots, width, self._model.device)
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
            places = [len(answers[i].token_ids) for i in drawn]
            tokens, logprobs = sampled(logits, noise[drawn, places], sampling)
            ended = torch.isin(tokens, self._eos).tolist()
            done = []
            for at, (i, token, logprob) in enumerate(
                zip(drawn, tokens.tolist(), logprobs.tolist(), strict=True)
            ):
                answers[i].token_ids.append(token)
                answers[i].logprobs.append(logprob)
                if ended[at] or len(answers[i].token_ids) == sampling.max_new_tokens:
                    done.append(first + at)
            for source, target in cache.release(done):
                owner[target] = owner[source]
            del owner[cache.live :]
        return answers

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
            position_ids=torch.cat([torch.arange(n, device=device) for n in lengths])[None],
            logits_to_keep=torch.tensor(lengths, device=device).cumsum(0) - 1,
            past_key_values=cache,
            use_cache=True,
            rows=rows,
        ).logits[0]
        cache.reading = None
        held = slice(cache.live, cache.live + len(prompts))
        cache.lengths[held] = torch.tensor(lengths, device=device)[source]
        cache.live += len(prompts)
        return logits[source]

    def _advance(self, cache: SlotCache, tokens: list[int]) -> torch.Tensor:
        """Each live slot by its newest token. [live, V] logits of the next."""
        device, lengths = self._model.device, cache.lengths[: cache.live]
        cache.most = int(lengths.max()) + 1
        seen = torch.arange(cache.most, device=device) <= lengths[:, None]
        logits = self._model(
            input_ids=torch.tensor(tokens, device=device)[:, None],
            position_ids=lengths[:, None].clone(),
            logits_to_keep=1,
            past_key_values=cache,
            use_cache=True,
            seen=seen[:, None, None],
        ).logits[:, -1]
        lengths += 1
        return logits
