"""Small real parts shared by the unit tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf_service.spec import JobSpec
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
