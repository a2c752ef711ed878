"""What freed tensors leave behind is given back."""

from __future__ import annotations

import psutil
import pytest
import torch

from rlhf_service.models import heap

MIB = 2**20


def resident() -> int:
    return psutil.Process().memory_info().rss


def test_freed_blocks_leave_the_process():
    blocks = [
        torch.ones(30 * 1024, dtype=torch.float32) for _ in range(1000)
    ]  # 117 MiB on the heap
    last = torch.ones(30 * 1024, dtype=torch.float32)  # what lies behind cannot simply shrink
    del blocks
    kept = resident()
    heap.give_back_freed()
    assert resident() < kept - 80 * MIB
    assert last.sum() == last.numel()


def test_a_library_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())
    heap.give_back_freed()
