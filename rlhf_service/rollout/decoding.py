"""Responses under way, over the cache that the network itself keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedModel

from rlhf_service.models.lstm import LstmState
from rlhf_service.records import Prompt


class Decoding:
    """Inputs of the next forward pass of the rows still alive. Prompts are padded on the left.

    Rows with the same prompt read it together, then go apart.
    """

    def __init__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, row_of: torch.Tensor
    ) -> None:
        self.input_ids = input_ids
        self.attention_mask = attention_mask
        self._row_of: torch.Tensor | None = row_of
        """Which row of the first pass each response goes on from; None behind that pass."""
        self.cache: DynamicCache | LstmState | None = None
        """What the network itself made of the tokens so far."""

    @classmethod
    def start(cls, prompts: list[Prompt], model: PreTrainedModel) -> Decoding:
        rows = {token_ids: row for row, token_ids in enumerate(dict.fromkeys(asked(prompts)))}
        width = max(map(len, rows))
        input_ids = torch.zeros(len(rows), width, dtype=torch.long)
        attention_mask = torch.zeros_like(input_ids)
        for token_ids, row in rows.items():
            input_ids[row, width - len(token_ids) :] = torch.tensor(token_ids)
            attention_mask[row, width - len(token_ids) :] = 1
        row_of = torch.tensor([rows[token_ids] for token_ids in asked(prompts)])
        device = model.device
        return cls(input_ids.to(device), attention_mask.to(device), row_of.to(device))

    def forward(self, model: PreTrainedModel) -> torch.Tensor:
        """[B, V] logits of the next token."""
        positions = (self.attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        found = model(
            input_ids=self.input_ids,
            attention_mask=self.attention_mask,
            position_ids=positions[:, -self.input_ids.shape[1] :],
            past_key_values=self.cache,
            logits_to_keep=1,
            use_cache=True,
        )
        self.cache = found.past_key_values
        logits: torch.Tensor = found.logits[:, -1]
        if self._row_of is not None:
            logits = logits[self._row_of]
            if len(self._row_of) > len(self.input_ids):
                self.cache.batch_select_indices(self._row_of)
                self.attention_mask = self.attention_mask[self._row_of]
            self._row_of = None
        return logits

    def advance(self, tokens: torch.Tensor, keep: torch.Tensor) -> None:
        """Feed `tokens` next; rows where `keep` is False leave."""
        assert self.cache is not None  # forward comes first
        if not keep.all():
            self.cache.batch_select_indices(keep.nonzero()[:, 0])
        ones = self.attention_mask.new_ones(int(keep.sum()), 1)
        self.attention_mask = torch.cat([self.attention_mask[keep], ones], dim=1)
        self.input_ids = tokens[keep, None]


def asked(prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    """The token ids of each prompt."""
    return [prompt.token_ids for prompt in prompts]
