"""Rows → network inputs, padded or packed, and the response tokens' outputs back to [B, T].

Both layouts give the same numbers; packed wastes no arithmetic on padding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from rlhf_service.batch import ExperienceBatch
from rlhf_service.models.ragged import Rows


@dataclass(frozen=True, slots=True)
class NetworkInputs:
    """Inputs of one forward pass, and where each response token is predicted.

    b rows and width L padded; one row of N tokens packed.
    """

    input_ids: torch.Tensor
    """[b, L] or [1, N] int64."""

    attention_mask: torch.Tensor | None
    """[b, L] int64, 1 where there is a token; None when packed."""

    position_ids: torch.Tensor
    """Same shape as input_ids; restarts at 0 with each packed row."""

    keep: torch.Tensor
    """[K] columns whose logits are wanted."""

    source: torch.Tensor
    """[n] index into the flattened [b, K] outputs, one for each response position, row by row; all
    of them in order when packed."""

    target: torch.Tensor
    """[n] index into the flattened [B, T] response grid."""

    tokens: torch.Tensor
    """[n] the response token predicted there."""

    shape: tuple[int, int]
    """(B, T)."""

    rows: Rows | None = None
    """Where the packed rows lie; None when padded."""

    def to(self, device: torch.device) -> NetworkInputs:
        mask = self.attention_mask
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            attention_mask=None if mask is None else mask.to(device),
            position_ids=self.position_ids.to(device),
            keep=self.keep.to(device),
            source=self.source.to(device),
            target=self.target.to(device),
            tokens=self.tokens.to(device),
            rows=None if self.rows is None else self.rows.to(device),
        )

    def forward(self) -> dict[str, Any]:
        """The arguments of a network's forward pass."""
        given: dict[str, Any] = {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "position_ids": self.position_ids,
        }
        return given if self.rows is None else {**given, "rows": self.rows}

    def select(self, outputs: torch.Tensor) -> torch.Tensor:
        """[b, K, …] network outputs at kept columns → [n, …] at response tokens."""
        kept = outputs.flatten(0, 1)
        return kept if self.rows is not None else kept[self.source]

    def select_full(self, outputs: torch.Tensor) -> torch.Tensor:
        """[b, L] outputs at every column → [n] at response tokens."""
        return self.select(outputs[:, self.keep])

    def pick(self, grid: torch.Tensor) -> torch.Tensor:
        """[B, T] on the CPU → [n] at response tokens, on the inputs' device."""
        return grid.flatten()[self.target.cpu()].to(self.target.device)

    def scatter(self, values: torch.Tensor) -> torch.Tensor:
        """[n] → [B, T], 0 where there is no response token."""
        grid = torch.zeros(self.shape[0] * self.shape[1], dtype=values.dtype, device=values.device)
        return grid.index_put((self.target,), values).view(self.shape)


def network_inputs(
    batch: ExperienceBatch, layout: Literal["auto", "padded", "packed"], device: torch.device
) -> NetworkInputs:
    """Prompt and response of each row, laid out for one forward pass."""
    widths = batch.widths().tolist()
    rows = [
        [*prompt, *response[:width]]
        for prompt, response, width in zip(
            batch.prompt_ids, batch.response_ids.tolist(), widths, strict=True
        )
    ]
    prompts = [len(p) for p in batch.prompt_ids]
    build = _packed if layout == "packed" else _padded
    return build(rows, prompts, widths, batch.response_ids).to(device)


def _targets(widths: list[int], response_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    columns = response_ids.shape[1]
    target = torch.cat([row * columns + torch.arange(w) for row, w in enumerate(widths)])
    return target, response_ids.flatten()[target]


def _padded(
    rows: list[list[int]], prompts: list[int], widths: list[int], response_ids: torch.Tensor
) -> NetworkInputs:
    length = max(map(len, rows))
    input_ids = torch.zeros(len(rows), length, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, tokens in enumerate(rows):
        input_ids[row, : len(tokens)] = torch.tensor(tokens)
        attention_mask[row, : len(tokens)] = 1
    position_ids = torch.arange(length).expand(len(rows), -1)
    first = min(prompts) - 1  # the token before a response predicts its first token
    keep = torch.arange(first, length - 1)
    source = torch.cat(
        [
            row * len(keep) + (p - 1 - first) + torch.arange(w)
            for row, (p, w) in enumerate(zip(prompts, widths, strict=True))
        ]
    )
    target, predicted = _targets(widths, response_ids)
    shape = (response_ids.shape[0], response_ids.shape[1])
    return NetworkInputs(
        input_ids, attention_mask, position_ids, keep, source, target, predicted, shape
    )


def _packed(
    rows: list[list[int]], prompts: list[int], widths: list[int], response_ids: torch.Tensor
) -> NetworkInputs:
    starts = [0]
    for tokens in rows[:-1]:
        starts.append(starts[-1] + len(tokens))
    input_ids = torch.tensor([token for tokens in rows for token in tokens])[None]
    position_ids = torch.cat([torch.arange(len(tokens)) for tokens in rows])[None]
    keep = torch.cat(
        [
            start + p - 1 + torch.arange(w)
            for start, p, w in zip(starts, prompts, widths, strict=True)
        ]
    )
    target, predicted = _targets(widths, response_ids)
    shape = (response_ids.shape[0], response_ids.shape[1])
    source = torch.arange(len(keep))
    laid = Rows.of([len(tokens) for tokens in rows])
    return NetworkInputs(
        input_ids, None, position_ids, keep, source, target, predicted, shape, laid
    )
