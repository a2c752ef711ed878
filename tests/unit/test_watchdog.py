"""The watchdog's posts: who is stalled, who is replaced, and when a job is given up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import cluster.watchdog
from cluster.host import ADVICE, STORE
from cluster.watchdog import RETURN_SECONDS, ActorPost, Stall, Watchdog
from rlhf_service.events import Recovered, RoleStopped
from rlhf_service.job import StopReason
from rlhf_service.vitals import Sign

PATIENCE = 200.0


def post(killed: list[str], restarts: int = 1, role: str = "rollout-0") -> ActorPost:
    return ActorPost(
        role=role,
        patience=PATIENCE,
        restarts=restarts,
        advice=ADVICE[role.split("-")[0]],
        kill=lambda sign: killed.append(role),
    )


def sign(role: str = "rollout-0", pid: int = 7, **changed: object) -> Sign:
    fresh = Sign(
        role=role,
        pid=pid,
        host="here",
        node="",
        count=1,
        beats=0,
        phase="generate for 8 prompts, version 3",
        idle=False,
        at=0.0,
        path=Path(f"{role}.json"),
    )
    return replace(fresh, **changed)  # type: ignore[arg-type]


def test_a_phase_without_an_end_is_a_stall_although_the_process_lives() -> None:
    watched = post([])
    for now in range(0, int(PATIENCE), 50):
        assert watched.look([sign(beats=now)], now) is None
    stall = watched.look([sign(beats=9999)], PATIENCE + 1)
    assert stall is not None and stall.role == "rollout-0"
    assert stall.phase == "generate for 8 prompts, version 3"
    assert watched.look([sign(beats=10_000)], PATIENCE + 2) is None  # not again at once


def test_new_phases_are_progress_and_idleness_is_no_fault() -> None:
    watched = post([])
    for number in range(10):
        now = number * 0.9 * PATIENCE
        assert watched.look([sign(count=number, beats=number)], now) is None
    for number in range(100):
        now = 10 * PATIENCE + number * 0.9 * PATIENCE
        assert watched.look([sign(count=11, idle=True, beats=number)], now) is None


def test_a_process_without_a_sign_of_life_is_stalled_even_when_idle() -> None:
    watched = post([])
    assert watched.look([sign(idle=True)], 0) is None
    assert watched.look([sign(idle=True)], PATIENCE) is None
    stall = watched.look([sign(idle=True)], PATIENCE + 1)
    assert stall is not None and "no sign of life" in stall.message


def test_only_its_own_sign_counts_and_none_is_none() -> None:
    watched = post([])
    assert watched.look([sign("rollout-1")], 0) is None
    assert watched.look([sign("rollout-1")], 10 * PATIENCE) is None


def test_who_takes_its_place_has_time_to_start_and_is_told_once() -> None:
    killed: list[str] = []
    watched = ActorPost(
        role="weights",
        patience=30,
        restarts=3,
        advice=ADVICE[STORE],
        kill=lambda sign: killed.append(""),
    )
    old = sign("weights", idle=True)
    watched.look([old], 0)
    stall = watched.look([old], 31)
    assert stall is not None and watched.mend(stall) is None and killed == [""]
    assert watched.returned([old]) is None
    assert watched.look([old], 31 + RETURN_SECONDS) is None
    again = watched.look([old], 32 + RETURN_SECONDS)  # it never came
    assert again is not None
    new = sign("weights", pid=8, idle=True)
    back = watched.returned([new])
    assert back is not None and back.role == "weights" and "8" in back.message
    assert watched.returned([new]) is None


@pytest.mark.parametrize("role", ["rollout-0", "reward-1", "weights"])
def test_a_spent_budget_ends_the_job_and_says_who_where_and_what_to_do(role: str) -> None:
    killed: list[str] = []
    watched = post(killed, restarts=2, role=role)
    stall = Stall(role=role, phase="score 4 responses", message="at it for 9 s", signs=[sign(role)])
    assert watched.mend(stall) is None and watched.mend(stall) is None
    end = watched.mend(stall)
    assert killed == [role, role]
    assert end is not None and end.reason is StopReason.STALLED and not end.retryable
    for part in (role, "score 4 responses", "recovery.max_restarts allows 2", "driver's log"):
        assert part in end.message
    assert ADVICE[role.split("-")[0]] in end.message


def test_the_watchdog_names_keeps_stacks_and_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    signs = [sign(), sign("reward-0", pid=9, count=2)]
    clock = [0.0]
    monkeypatch.setattr(cluster.watchdog, "read_signs", lambda folder: list(signs))
    monkeypatch.setattr(cluster.watchdog, "stacks", lambda sign: f"stacks of {sign.pid}")
    monkeypatch.setattr(cluster.watchdog.time, "monotonic", lambda: clock[0])
    killed: list[str] = []
    told: list[object] = []
    watchdog = Watchdog([post(killed), post(killed, 0, "reward-0")], tmp_path, told.append)
    assert watchdog.look() is None and told == []
    clock[0] = PATIENCE + 1
    signs[1] = sign("reward-0", pid=9, count=3)
    assert watchdog.look() is None
    [named] = told
    assert isinstance(named, RoleStopped) and named.role == "rollout-0" and named.stalled
    assert "stacks of 7" in caplog.text and killed == ["rollout-0"]
    signs[0] = sign(pid=10)
    clock[0] += 2
    assert watchdog.look() is None and isinstance(told[1], Recovered)
    clock[0] = 2 * PATIENCE + 2
    end = watchdog.look()
    assert end is not None and end.message.startswith("reward-0") and killed == ["rollout-0"]
    assert "stacks of 9" in caplog.text
