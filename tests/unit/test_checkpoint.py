"""Checkpoints are valid or absent, and the ledger forgets nothing."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_service.errors import StorageError
from rlhf_service.learner.checkpoint import CheckpointFolder
from rlhf_service.learner.group import SoloGroup
from rlhf_service.ledger import PromptLedger
from rlhf_service.manifest import MANIFEST


def writer(text: str):
    def write(folder: Path) -> dict[str, object]:
        (folder / "weights").write_text(text)
        return {"step": text}

    return write


@pytest.fixture
def checkpoints(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoints", 2, SoloGroup())


def test_the_newest_of_a_stage_is_found_and_old_ones_go(checkpoints):
    for step in (1, 2, 3):
        checkpoints.save("ppo", step, writer(str(step)))
    found = checkpoints.latest("ppo")
    assert found.step == 3 and found.state() == {"step": "3"}
    assert len(list(checkpoints.root.iterdir())) == 2
    assert checkpoints.latest("sft") is None


@pytest.mark.parametrize("damage", ["no manifest", "short file", "missing file", "torn manifest"])
def test_a_damaged_checkpoint_does_not_count(checkpoints, damage):
    checkpoints.save("ppo", 1, writer("one"))
    path, _ = checkpoints.save("ppo", 2, writer("two"))
    match damage:
        case "no manifest":
            (path / MANIFEST).unlink()
        case "short file":
            (path / "weights").write_text("t")
        case "missing file":
            (path / "weights").unlink()
        case "torn manifest":
            (path / MANIFEST).write_text('{"stage": "ppo", "st')
    assert checkpoints.latest("ppo").step == 1


def test_a_full_disk_leaves_the_older_checkpoint(checkpoints):
    checkpoints.save("ppo", 1, writer("one"))

    def full(folder: Path) -> dict[str, object]:
        (folder / "weights").write_text("par")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match=r"No space left on device; free some space"):
        checkpoints.save("ppo", 2, full)
    assert checkpoints.latest("ppo").step == 1


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.booleans()), max_size=20))
def test_each_position_is_settled_once_whatever_dies(actions):
    """Lease, then settle or die; after a death the saved ledger goes on."""
    ledger, trained = PromptLedger(), []
    for count, dies, quarantines in actions:
        saved = ledger.saved()
        ledger, leased = ledger.lease(count)
        if dies:
            ledger = PromptLedger.restored(saved)
            continue
        ledger = ledger.settle(leased, leased[:1] if quarantines else ())
        trained += leased
    assert trained == list(range(len(trained)))
    assert ledger.cursor == len(trained)
    assert ledger.quarantined <= set(trained)


def test_out_of_order_settling_moves_the_cursor_only_past_whole_ground():
    ledger, first = PromptLedger().lease(2)
    ledger, second = ledger.lease(2)
    ledger = ledger.settle(second)
    assert ledger.cursor == 0 and ledger.settled == {2, 3}
    assert ledger.settle(first).cursor == 4
    with pytest.raises(ValueError, match="not leased"):
        ledger.settle(second)


def test_a_rank_that_was_not_there_takes_the_first_ones_random_state(checkpoints):
    torch.manual_seed(3)
    checkpoints.save("ppo", 1, writer("one"))
    wanted = torch.rand(4)
    torch.manual_seed(4)
    joined = CheckpointFolder(checkpoints.root, 2, SoloGroup(rank=1, size=2))
    joined.restore_rng(joined.latest("ppo"))
    assert torch.equal(torch.rand(4), wanted)
