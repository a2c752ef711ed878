"""The gate before the first update: how far sampler and trainer may be apart."""

from __future__ import annotations

import pytest
import torch

from rlhf_service.batch import ExperienceBatch, Recall, collate
from rlhf_service.errors import GateFailed
from rlhf_service.gate import check_gate, largest_difference
from rlhf_service.learner.group import SoloGroup
from rlhf_service.records import FinishReason, Prompt, Rollout, Score
from rlhf_service.spec import GateSpec


def drawn(*logprobs: float) -> ExperienceBatch:
    """One response with what the sampler says of its tokens."""
    prompt = Prompt(position=0, sample=0, row=0, text="a", token_ids=(5,))
    rollout = Rollout(
        prompt=prompt,
        token_ids=tuple(range(6, 6 + len(logprobs))),
        logprobs=logprobs,
        text="b",
        finish_reason=FinishReason.LENGTH,
        policy_version=1,
    )
    return collate([rollout], [Score(value=1.0)], 1.0)


def recalled(*logprobs: float) -> Recall:
    """The same by the trainer, whose reference is its policy."""
    found = torch.tensor([logprobs])
    return Recall(found, found.clone(), torch.zeros_like(found), torch.zeros_like(found))


@pytest.mark.parametrize(
    ("precision", "difference", "passes"),
    [("fp32", 0.04, True), ("fp32", 0.06, False), ("bf16", 0.4, True), ("bf16", 0.6, False)],
)
def test_bf16_may_be_apart_by_what_it_rounds(precision, difference, passes):
    batch, recall = drawn(-1.0, -2.0), recalled(-1.0, -2.0 - difference)
    largest = largest_difference(GateSpec(), precision)
    if passes:
        check_gate(batch, recall, largest, SoloGroup())
        return
    with pytest.raises(GateFailed, match=f"differ by {difference} on a token"):
        check_gate(batch, recall, largest, SoloGroup())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_the_job_says_counts_in_any_precision(precision):
    assert largest_difference(GateSpec(max_logprob_difference=0.2), precision) == 0.2
