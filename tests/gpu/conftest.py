"""One GPU, and NCCL among one rank."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    missing = pytest.mark.skip(reason="needs a CUDA GPU")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(missing)


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[torch.device]:
    """The first GPU, with a process group of this process alone."""
    os.environ.setdefault("LOCAL_RANK", "0")
    torch.cuda.set_device(0)
    meeting = f"file://{tmp_path_factory.mktemp('nccl') / 'meeting'}"
    dist.init_process_group("nccl", init_method=meeting, rank=0, world_size=1)
    yield torch.device("cuda", 0)
    dist.destroy_process_group()
