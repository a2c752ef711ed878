"""Rollout engines on a GPU draw what they draw on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlhf_service.models.build import build_scratch
from rlhf_service.models.digest import digests
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.ports import WeightSnapshot
from rlhf_service.records import Prompt, Rollout
from rlhf_service.rollout.build import build_engine
from rlhf_service.spec import SamplingSpec, ScratchModel
from rlhf_service.spec.learner import Precision
from tests.small import WORDS

pytestmark = pytest.mark.gpu

ROWS = 40
SEQUENCES = 8
"""Fewer than rows: those that end make room for others."""


@pytest.fixture(scope="module", params=["llama", "gpt2", "lstm"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with weights."""
    place: Path = tmp_path_factory.mktemp(request.param)
    tokenizer = train_tokenizer(WORDS * 4, 300)
    spec = ScratchModel(
        architecture=request.param, hidden_size=64, num_layers=2, num_heads=4, context_length=64
    )
    build_scratch(spec, tokenizer, 3).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def drawn(folder: Path, device: str, precision: Precision) -> list[Rollout]:
    from rlhf_service.models.load import load_causal_lm
    from rlhf_service.models.precision import dtype_of

    state = load_causal_lm(folder, dtype_of(precision)).state_dict()
    engine = build_engine(folder, precision, device, SEQUENCES)
    # As a rollout actor gets them: from the host's memory.
    engine.load_weights(WeightSnapshot(1, digests(state), state))
    prompts = [
        Prompt(position=i, sample=0, row=i, text="", token_ids=tuple(range(5, 6 + i % 7)))
        for i in range(ROWS)
    ]
    return engine.generate(prompts, SamplingSpec(max_new_tokens=16), version=1, seed=0)


def test_the_same_tokens_with_the_same_log_probs(device: torch.device, folder: Path) -> None:
    here, there = drawn(folder, "cpu", "fp32"), drawn(folder, "cuda", "fp32")
    same = [(a, b) for a, b in zip(here, there, strict=True) if a.token_ids == b.token_ids]
    assert len(same) >= ROWS - 2  # where rounding tips one draw, the rest of the row is another
    for a, b in same:
        # Of LSTMs cuDNN rounds the products' operands to tf32.
        assert b.logprobs == pytest.approx(a.logprobs, abs=1e-3)
        assert a.finish_reason == b.finish_reason


def test_bf16_draws_responses_too(device: torch.device, folder: Path) -> None:
    found = drawn(folder, "cuda", "bf16")
    assert len(found) == ROWS
    assert all(torch.tensor(rollout.logprobs).isfinite().all() for rollout in found)
