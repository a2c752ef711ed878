"""Which rows share a forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from rlhf_service.ports import Group
from rlhf_service.spec.learner import LearnerSpec


def microbatches(
    rows: Sequence[int], lengths: Mapping[int, int], learner: LearnerSpec, group: Group
) -> list[list[int]]:
    """`rows` in parts, rows of like length together: less padding, the same sum.

    Every rank makes the same number of parts of the same number of rows, because under ZeRO-3 a
    forward pass is collective. Collective when the spec counts tokens.
    """
    by_length = sorted(rows, key=lambda row: lengths[row])
    if learner.micro_batch_tokens is None:
        size = learner.micro_batch_size
        return [by_length[at : at + size] for at in range(0, len(by_length), size)]
    padded = learner.layout != "packed"
    parts = filled(by_length, lengths, learner.micro_batch_tokens, padded=padded)
    return halved(parts, lengths, int(group.max(torch.tensor(len(parts)))))


def filled(
    rows: Sequence[int], lengths: Mapping[int, int], most: int, *, padded: bool
) -> list[list[int]]:
    """Rows, ascending in length, in as few parts of at most `most` tokens as their order allows;
    padding counts where there is any. A row that is longer is a part of its own.
    """
    parts: list[list[int]] = []
    taken = 0
    for row in rows:
        length = lengths[row]
        size = length * (len(parts[-1]) + 1) if parts and padded else taken + length
        if not parts or size > most:
            parts.append([])
            size = length
        parts[-1].append(row)
        taken = size
    return parts


def halved(parts: list[list[int]], lengths: Mapping[int, int], count: int) -> list[list[int]]:
    """The largest parts cut until there are `count`: no more than there are rows."""
    while len(parts) < count:
        at = max(
            (i for i, part in enumerate(parts) if len(part) > 1),
            key=lambda i: sum(lengths[row] for row in parts[i]),
        )
        middle = len(parts[at]) // 2
        parts = [*parts[:at], parts[at][:middle], parts[at][middle:], *parts[at + 1 :]]
    return parts
