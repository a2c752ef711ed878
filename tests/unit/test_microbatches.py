"""Parts of a minibatch: every row once, within the budget, as many on every rank."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_service.learner.group import SoloGroup
from rlhf_service.learner.microbatches import microbatches
from rlhf_service.spec import LearnerSpec


@dataclass(frozen=True)
class Beside(SoloGroup):
    """A rank beside one that makes `others` parts."""

    others: int = 1

    def max(self, values: torch.Tensor) -> torch.Tensor:
        return values.clamp(min=self.others)


ROWS = st.lists(st.integers(1, 50), min_size=1, max_size=30)


@given(ROWS, st.integers(1, 120), st.sampled_from(["padded", "packed"]), st.integers(1, 30))
def test_parts_hold_every_row_once_within_the_budget(lengths, budget, layout, others):
    held = dict(enumerate(lengths))
    others = min(others, len(lengths))
    learner = LearnerSpec(micro_batch_tokens=budget, layout=layout)
    parts = microbatches(list(held), held, learner, Beside(others=others))
    assert sorted(row for part in parts for row in part) == list(held)
    assert all(parts) and len(parts) >= others
    for part in parts:
        sizes = [held[row] for row in part]
        cost = max(sizes) * len(sizes) if layout == "padded" else sum(sizes)
        assert cost <= budget or len(part) == 1


@given(ROWS, st.integers(1, 9))
def test_a_number_of_rows_is_kept_when_no_budget_of_tokens_is_given(lengths, size):
    held = dict(enumerate(lengths))
    parts = microbatches(list(held), held, LearnerSpec(micro_batch_size=size), SoloGroup())
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    ordered = [held[row] for part in parts for row in part]
    assert ordered == sorted(lengths)


def test_budget_spares_passes():
    """Twelve rows of 10 tokens: one pass of 120 instead of two of 8 and 4."""
    held = dict.fromkeys(range(12), 10)
    learner = LearnerSpec(micro_batch_tokens=120)
    assert len(microbatches(list(held), held, learner, SoloGroup())) == 1
