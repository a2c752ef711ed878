"""One GPU, and NCCL among one rank."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rlhf_service.planning.calibration.ranks import one_rank


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    missing = pytest.mark.skip(reason="needs a CUDA GPU")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(missing)


@pytest.fixture(scope="session")
def device() -> Iterator[torch.device]:
    """The first GPU, with a process group of this process alone."""
    first = torch.device("cuda", 0)
    with one_rank(first):
        yield first
