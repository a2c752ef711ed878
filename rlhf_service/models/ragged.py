"""Causal attention within rows that lie end to end, and nothing else that padding would cost.

Only attention sees rows apart: its inputs are laid out padded on the right, where a causal row
never reads its padding, so that no mask is needed. Every other layer works on real tokens alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "rlhf_ragged"

BY_PRODUCTS = 512
"""Longest rows whose scores may be kept whole: so many for each token and head."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of `lengths` tokens, end to end: N tokens in b rows, the longest of L."""

    lengths: tuple[int, ...]

    spread: torch.Tensor | None
    """[b·L] the token at each place of the padded layout; some real one at padding. None when the
    rows are equally long and both layouts are the same."""

    gather: torch.Tensor | None
    """[N] the place of each token in the padded layout."""

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Rows:
        longest = max(lengths)
        if min(lengths) == longest:
            return cls(tuple(lengths), None, None)
        size = torch.tensor(lengths)[:, None]
        start = torch.tensor([0, *accumulate(lengths)][:-1])[:, None]
        place = torch.arange(longest)[None]
        real = place < size
        return cls(
            tuple(lengths),
            (start + torch.minimum(place, size - 1)).flatten(),
            real.flatten().nonzero()[:, 0],
        )

    def to(self, device: torch.device) -> Rows:
        if self.spread is None or self.gather is None:
            return self
        return replace(self, spread=self.spread.to(device), gather=self.gather.to(device))

    def apart(self, packed: torch.Tensor) -> torch.Tensor:
        """[1, H, N, D] → [b, H, L, D]."""
        tokens = packed[0].transpose(0, 1)
        if self.spread is not None:
            tokens = tokens.index_select(0, self.spread)
        return tokens.unflatten(0, (len(self.lengths), -1)).transpose(1, 2)

    def together(self, padded: torch.Tensor) -> torch.Tensor:
        """[b, H, L, D] → [1, N, H, D]."""
        tokens = padded.transpose(1, 2).flatten(0, 1)
        if self.gather is not None:
            tokens = tokens.index_select(0, self.gather)
        return tokens[None]


def takes_ragged(network: PreTrainedModel) -> bool:
    """Whether this attention can stand for the network's own: plain causal attention that its
    architecture lets others provide.
    """
    config = network.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    special = ("sliding_window", "attn_logit_softcapping", "is_encoder_decoder")
    return (
        bool(network._supports_attention_backend)
        and kinds == {"full_attention"}
        and not any(getattr(config, name, None) for name in special)
    )


def use_ragged(network: PreTrainedModel) -> None:
    """Let the network's layers attend through `attend`."""
    network.set_attn_implementation(NAME)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    rows: Rows | None = None,
    seen: torch.Tensor | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """[B, H, T, D] inputs → [B, T, H, D].

    `rows` says where the rows of a training pass lie; `seen` [B, 1, 1, W] which of W held keys the
    one new token of each row attends to. Without either it is transformers' own attention.
    """
    if seen is not None:
        # Query heads that share keys stand as so many queries: nothing is repeated.
        shared = query.unflatten(1, (key.shape[1], -1))[:, :, :, 0]
        found = functional.scaled_dot_product_attention(
            shared, key, value, attn_mask=seen, scale=scaling
        )
        return found.flatten(1, 2)[:, None], None
    if rows is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **rest
        )
    key, value = (repeated(one, query.shape[1]) for one in (key, value))
    found = causal(rows.apart(query), rows.apart(key), rows.apart(value), scaling)
    return rows.together(found), None


def causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Each token attends to those up to itself. [b, H, L, D] of each → [b, H, L, D].

    On CPUs torch's fused kernel is three to four times as slow in bf16 as the two products that it
    fuses, so short rows there go by the products. Their scores are rounded to bf16, as transformers'
    eager attention rounds them.
    """
    length = query.shape[2]
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or length > BY_PRODUCTS:
        return functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    unseen = query.new_full((length, length), -torch.inf).triu(1)
    one, other, values = (heads.flatten(0, 1) for heads in (query, key, value))
    scores = torch.baddbmm(unseen, one, other.transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), values).view_as(query)


def repeated(heads: torch.Tensor, count: int) -> torch.Tensor:
    """Key or value heads, each as often as query heads share it."""
    times = count // heads.shape[1]
    return heads if times == 1 else heads.repeat_interleave(times, dim=1)


def mask(*, attention_mask: torch.Tensor | None = None, **asked: Any) -> torch.Tensor | None:
    """transformers' mask where there is padding; rows that lie end to end need none."""
    if attention_mask is None:
        return None
    made: torch.Tensor | None = sdpa_mask(attention_mask=attention_mask, **asked)
    return made


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, mask)
