"""Signs of life, and the stacks of processes that hang or were stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from cluster import stacks as module
from cluster.machines import kill_here
from cluster.stacks import by_py_spy, culprits, stacks
from cluster.watchdog import LearnerPost, Pulse, Watchdog
from rlhf_service.events import JobStopped, RoleStopped
from rlhf_service.storage import JobFolder
from rlhf_service.vitals import Sign, Vitals, forget_signs, read_signs

HANGING = """
import sys, time
from pathlib import Path
from rlhf_service.vitals import Vitals

vitals = Vitals(Path(sys.argv[1]), Path(sys.argv[1]).stem)
for step in range(int(sys.argv[2])):
    vitals.enter(f"update, ppo step {step}")

def hangs_here():
    print("hangs", flush=True)
    while True:
        time.sleep(0.01)

hangs_here()
"""


@contextmanager
def hanging(path: Path, steps: int) -> Iterator[Sign]:
    command = [sys.executable, "-c", HANGING, str(path), str(steps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "hangs\n"
            yield next(sign for sign in read_signs(path.parent) if sign.pid == process.pid)
        finally:
            process.kill()


def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never held"
        time.sleep(0.02)


@pytest.fixture(params=["from outside", "from inside"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "from inside":
        monkeypatch.setattr(module, "by_py_spy", lambda pid: ("", "it may not look"))
    elif not by_py_spy(os.getpid())[0]:
        pytest.skip("py-spy may not look into processes here")
    return str(request.param)


@pytest.mark.parametrize("stopped", [False, True], ids=["hangs", "stopped"])
def test_stacks_say_where(way: str, tmp_path: Path, stopped: bool) -> None:
    with hanging(tmp_path / "learner-1.json", 3) as sign:
        assert (sign.role, sign.phase, sign.count) == ("learner-1", "update, ppo step 2", 4)
        if stopped:
            os.kill(sign.pid, signal.SIGSTOP)
            until(lambda: module.is_stopped(sign))
        said = stacks(sign)
        assert "hangs_here" in said
        assert said.startswith(f"learner-1 (process {sign.pid}, ")
        if stopped:
            assert "stopped" in said.splitlines()[0]
            until(lambda: module.is_stopped(sign))  # and stays so


def test_a_process_that_is_gone_or_elsewhere(tmp_path: Path) -> None:
    with hanging(tmp_path / "learner.json", 1) as sign:
        pass
    assert "is gone" in stacks(sign)
    fields = {name: getattr(sign, name) for name in Sign.__slots__} | {"host": "elsewhere"}
    assert "runs on elsewhere" in stacks(Sign(**fields))


def test_a_stopped_process_is_killed_and_no_other_of_its_number(tmp_path: Path) -> None:
    with hanging(tmp_path / "weights.json", 1) as sign:
        os.kill(sign.pid, signal.SIGSTOP)
        older = Sign(**{name: getattr(sign, name) for name in Sign.__slots__} | {"at": 1.0})
        assert not kill_here(older)
        until(lambda: module.is_stopped(sign))
        assert kill_here(sign)
        until(lambda: psutil.Process(sign.pid).status() == psutil.STATUS_ZOMBIE)
    assert not kill_here(sign)


def look(folder: JobFolder, told: list[object]) -> JobStopped:
    """What a watchdog without patience says of the learners at once."""
    pulse = Pulse(folder, 1)
    pulse._started -= 1000
    word = Watchdog([LearnerPost(pulse, 1)], folder.vitals(1), told.append).look()
    assert word is not None
    return word


def test_the_driver_names_the_one_that_the_others_wait_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = JobFolder(tmp_path / "job-1")
    vitals = folder.vitals(1)
    with ExitStack() as stack:
        signs = [
            stack.enter_context(hanging(vitals / f"learner-{rank}.json", steps))
            for rank, steps in enumerate((3, 2, 3))
        ]
        stack.enter_context(hanging(vitals / "rollout-0.json", 0))
        told: list[object] = []
        word = look(folder, told)
        [event] = told
        assert isinstance(event, RoleStopped) and event.stalled
        assert event.role == "learner-1" and "update, ppo step 1" in event.phase
        assert word.retryable and "update, ppo step 1" in word.message
        assert "hangs_here" in caplog.text
        # All at one place: who was stopped is who is waited for.
        equal = [signs[0], signs[2]]
        assert culprits(equal) == equal
        os.kill(signs[2].pid, signal.SIGSTOP)
        until(lambda: module.is_stopped(signs[2]))
        assert culprits(equal) == [signs[2]]


def test_without_any_sign_the_learner_is_named(tmp_path: Path) -> None:
    told: list[object] = []
    word = look(JobFolder(tmp_path / "job-1"), told)
    [event] = told
    assert word.retryable and isinstance(event, RoleStopped) and event.role == "learner"


def test_a_process_says_by_itself_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlhf_service.vitals.BEAT_SECONDS", 0.01)
    vitals = Vitals(tmp_path / "reward-0.json", "reward-0", "node-1")

    def sign() -> Sign:
        return read_signs(tmp_path)[0]

    with vitals.during("score 4 responses"):
        before = sign()
        assert (before.phase, before.idle, before.node) == ("score 4 responses", False, "node-1")
        until(lambda: sign().beats > before.beats + 1)
        assert (sign().count, sign().at) == (before.count, before.at)
    assert sign().idle and sign().phase == "idle after score 4 responses"
    assert sign().count == before.count + 1
    vitals.close()
    assert read_signs(tmp_path) == []


def test_a_group_that_became_smaller_has_no_sign_of_those_that_are_gone(tmp_path: Path) -> None:
    roles = ("learner-0", "learner-1", "rollout-0")
    for vitals in [Vitals(tmp_path / f"{role}.json", role) for role in roles]:
        kept = (tmp_path / f"{vitals._role}.json").read_text()
        vitals.close()
        (tmp_path / f"{vitals._role}.json").write_text(kept)
    assert [sign.role for sign in read_signs(tmp_path)] == list(roles)
    forget_signs(tmp_path, "learner")
    forget_signs(tmp_path / "not there yet", "learner")
    alone = Vitals(tmp_path / "learner.json", "learner")
    assert [sign.role for sign in read_signs(tmp_path)] == ["learner", "rollout-0"]
    alone.close()
