"""Answers token by token, told as they grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_service.data.tokens import encode, start_id
from rlhf_service.errors import DataError
from rlhf_service.generation.protocol import Ask, Reply
from rlhf_service.records import Prompt
from rlhf_service.rollout.decoding import Decoding
from rlhf_service.rollout.sampling import draw, likeliest, uniforms
from rlhf_service.rollout.transformers import eos_ids


@dataclass(slots=True)
class Row:
    """One answer so far."""

    stop: tuple[str, ...]
    token_ids: list[int] = field(default_factory=list)
    told: int = 0
    """Characters already told."""

    def grow(self, text: str, ended: bool) -> tuple[str, bool]:
        """What can be told now that the answer reads `text`, and whether a stop text ends it."""
        found = [at for mark in self.stop if (at := text.find(mark)) >= 0]
        if found:
            text = text[: min(found)]
        elif not ended:
            # The end of the text may be half a character, or the beginning of a stop text.
            text = text.rstrip("\N{REPLACEMENT CHARACTER}")
            text = text[: len(text) - held_back(text, self.stop)]
        new, self.told = text[self.told :], max(self.told, len(text))
        return new, bool(found)


def held_back(text: str, stop: tuple[str, ...]) -> int:
    """Length of the longest end of `text` that begins a stop text."""
    lengths = [n for mark in stop for n in range(1, len(mark)) if text.endswith(mark[:n])]
    return max(lengths, default=0)


@torch.no_grad()
def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ask: Ask,
    cancelled: Callable[[], bool],
) -> Iterator[Reply]:
    """Pieces of every row's answer, then `end`. Raises DataError for a prompt that is too long."""
    prompts, room = prompts_of(ask, model, tokenizer)
    rows = [Row(ask.stop) for _ in prompts]
    limit = min(ask.max_tokens, room)
    ends, alive = eos_ids(model, tokenizer), list(range(len(rows)))
    noise = uniforms(prompts, ask.seed, limit)
    state = Decoding.start(prompts, model)
    for position in range(limit):
        logits = state.forward(model)
        if ask.temperature == 0:
            tokens, _ = likeliest(logits, 1.0)
        else:
            logits = nucleus(logits / ask.temperature, ask.top_p)
            tokens, _ = draw(logits, noise[alive, position], 1.0)
        keep = []
        for row, token in zip(alive, tokens.tolist(), strict=True):
            rows[row].token_ids.append(token)
            text = str(tokenizer.decode(rows[row].token_ids, skip_special_tokens=True))
            ended, last = token in ends, position + 1 == limit
            new, stopped = rows[row].grow(text, ended or last)
            if new:
                yield Reply(type="text", row=row, text=new)
            if ended or stopped or last:
                yield Reply(type="finish", row=row, reason="stop" if ended or stopped else "length")
            keep.append(not (ended or stopped or last))
        if not any(keep) or cancelled():
            break
        state.advance(tokens, torch.tensor(keep, device=tokens.device))
        alive = [row for row, goes_on in zip(alive, keep, strict=True) if goes_on]
    yield Reply(
        type="end",
        prompt_tokens=sum(len(prompt.token_ids) for prompt in prompts[:: ask.n]),
        completion_tokens=sum(len(row.token_ids) for row in rows),
    )


def prompts_of(
    ask: Ask, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Prompt], int]:
    """A prompt for each row, and how many tokens the model has room for behind the longest."""
    encoded = [
        tuple(encode(text, tokenizer, start=True) or [start_id(tokenizer)]) for text in ask.prompts
    ]
    longest = max(map(len, encoded))
    context = getattr(model.config, "max_position_embeddings", None) or 2**31
    if longest >= context:
        raise DataError(
            f"the prompt has {longest} tokens and the model's context {context}; shorten it"
        )
    prompts = [
        Prompt(position=index, sample=sample, row=index, text=text, token_ids=ids)
        for index, (text, ids) in enumerate(zip(ask.prompts, encoded, strict=True))
        for sample in range(ask.n)
    ]
    return prompts, context - longest


def nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """[B, V] logits, −∞ where a token is not among the likeliest whose probability reaches `top_p`
    (arXiv 1904.09751).
    """
    if top_p >= 1:
        return logits
    ordered, index = logits.float().sort(dim=-1, descending=True)
    probability = ordered.softmax(dim=-1)
    before = probability.cumsum(dim=-1) - probability
    dropped = torch.zeros_like(before, dtype=torch.bool).scatter(1, index, before >= top_p)
    return logits.masked_fill(dropped, -torch.inf)
