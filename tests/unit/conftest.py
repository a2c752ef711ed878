"""Small real parts shared by the unit tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf_service.models.build import build_scratch
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.spec import JobSpec, ScratchModel
from rlhf_service.stages.context import StageContext
from tests.small import pipeline_of, stage_context, write_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, str]:
    """Paths of tiny text, completion, preference and prompt files."""
    return write_corpus(tmp_path)


@pytest.fixture
def pipeline_spec(corpus: dict[str, str]) -> JobSpec:
    """SFT → reward model → PPO on a network of a few thousand weights."""
    return pipeline_of(corpus)


@pytest.fixture
def make_context() -> Callable[..., StageContext]:
    """`stage_context`."""
    return stage_context


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def networks(request):
    """(network, tokenizer) of two layers."""
    tokenizer = train_tokenizer(["a good film", "a bad film"] * 4, 300)
    spec = ScratchModel(
        architecture=request.param, hidden_size=16, num_layers=2, num_heads=2, context_length=64
    )
    return build_scratch(spec, tokenizer, 3), tokenizer
