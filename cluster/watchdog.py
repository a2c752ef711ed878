"""Watches every process of a job: who stops is named, its stacks are kept, and it is replaced.

Consumes: the signs of life that processes leave. Waits for: nothing but, at a stall, the stacks.
Time is this process's own, so clocks of other machines do not matter.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.replay import reported_steps
from cluster.stacks import culprits, stacks
from rlhf_service.events import Event, JobStopped, Recovered, RoleStopped
from rlhf_service.job import StopReason
from rlhf_service.storage import JobFolder
from rlhf_service.vitals import Sign, read_signs

log = logging.getLogger("rlhf.driver")

LOOK_SECONDS = 1.0
START_SECONDS = 600
"""What the learners' processes may take to start, however short the job's patience is."""
RETURN_SECONDS = 120.0
"""What the process that takes a stalled one's place may take to start, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Who makes no progress."""

    role: str
    phase: str
    """The last thing it was doing."""
    message: str
    signs: Sequence[Sign] = ()
    """Of the processes whose stacks are worth having."""


class Post(Protocol):
    """One role, or one group, as the watchdog sees it."""

    def look(self, signs: Sequence[Sign], now: float) -> Stall | None:
        """Whether it is stalled, by all the job's signs."""

    def mend(self, stall: Stall) -> JobStopped | None:
        """Replace it. A word instead when that is the attempt's end."""

    def returned(self, signs: Sequence[Sign]) -> Recovered | None:
        """Said once, when what was replaced is there again."""


class Watchdog:
    """All the posts of an attempt."""

    def __init__(self, posts: Sequence[Post], vitals: Path, emit: Callable[[Event], None]) -> None:
        self._posts, self._vitals, self._emit = posts, vitals, emit
        self._looked_at = float("-inf")

    def look(self) -> JobStopped | None:
        """Look at every post, now and then. Returns the attempt's end when it comes to that."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return None
        self._looked_at, signs = now, read_signs(self._vitals)
        for post in self._posts:
            if (back := post.returned(signs)) is not None:
                self._emit(back)
            if (stall := post.look(signs, now)) is not None:
                end = self._act(post, stall)
                if end is not None:
                    return end
        return None

    def _act(self, post: Post, stall: Stall) -> JobStopped | None:
        self._emit(
            RoleStopped(role=stall.role, phase=stall.phase, stalled=True, message=stall.message)
        )
        for sign in stall.signs:
            log.error("%s: %s\n%s", sign.role, stall.message, stacks(sign))
        return post.mend(stall)


class ActorPost:
    """An actor that Ray starts again when it is killed."""

    def __init__(
        self,
        *,
        role: str,
        patience: float,
        restarts: int,
        advice: str,
        kill: Callable[[Sign], None],
    ) -> None:
        self._role, self._patience, self._kill = role, patience, kill
        self._restarts, self._advice = restarts, advice
        self._stalls = 0
        self._replaced: tuple[str, int] | None = None
        """Host and process that were killed; None when there is nothing to wait for."""
        self._phase: tuple[object, ...] = ()
        self._beat: tuple[object, ...] = ()
        self._phase_at = self._beat_at = 0.0

    def look(self, signs: Sequence[Sign], now: float) -> Stall | None:
        """A phase without an end, or a process whose threads do not run."""
        sign = self._mine(signs)
        if sign is None:
            return None
        phase = (sign.host, sign.pid, sign.count)
        if phase != self._phase:
            self._phase, self._phase_at = phase, now
        beat = (*phase, sign.beats)
        if beat != self._beat:
            self._beat, self._beat_at = beat, now
        patience = self._patience if self._replaced is None else max(self._patience, RETURN_SECONDS)
        if now - self._beat_at > patience:
            message = f"no sign of life for {now - self._beat_at:.0f} s"
        elif not sign.idle and now - self._phase_at > patience:
            message = f"at it for {now - self._phase_at:.0f} s"
        else:
            return None
        # Who comes after it has as much time; so has one that does not come.
        self._phase_at = self._beat_at = now
        return Stall(role=self._role, phase=sign.phase, message=message, signs=[sign])

    def mend(self, stall: Stall) -> JobStopped | None:
        self._stalls += 1
        if self._stalls <= self._restarts:
            self._replaced = (stall.signs[0].host, stall.signs[0].pid)
            self._kill(stall.signs[0])
            return None
        message = (
            f"{self._role} stopped making progress {self._stalls} time(s), "
            f"last in {stall.phase!r} ({stall.message}); recovery.max_restarts allows "
            f"{self._restarts}. {self._advice} Its stacks are in the driver's log (`rlhf logs JOB`)"
        )
        return JobStopped(reason=StopReason.STALLED, message=message, retryable=False)

    def returned(self, signs: Sequence[Sign]) -> Recovered | None:
        sign = self._mine(signs)
        if self._replaced is None or sign is None or (sign.host, sign.pid) == self._replaced:
            return None
        self._replaced = None
        return Recovered(role=self._role, message=f"replaced by process {sign.pid}")

    def _mine(self, signs: Sequence[Sign]) -> Sign | None:
        return next((sign for sign in signs if sign.role == self._role), None)


class Pulse:
    """When the learners of an attempt last said something, and what."""

    def __init__(self, folder: JobFolder, attempt: int) -> None:
        self._folder, self._attempt = folder, attempt
        self._started = time.time()

    def silence(self) -> float:
        """Seconds since the newest event of any learner, or since the attempt began."""
        said = [path.stat().st_mtime for path in self._files()]
        return time.time() - max([self._started, *said])

    @property
    def started(self) -> bool:
        """Whether any learner has said anything."""
        return bool(self._files())

    def last_phase(self) -> str:
        """The last step reported, in words."""
        steps = reported_steps(self._folder)
        return ", ".join(f"{stage} after step {step}" for stage, step in steps.items()) or "start"

    def _files(self) -> list[Path]:
        return list(self._folder.events.glob(f"a{self._attempt}-learner-*.jsonl"))


class LearnerPost:
    """The learner group: collectives make its ranks wait for each other, so it stalls as one. The
    next attempt goes on from the newest checkpoint; `recovery.max_attempts` counts.
    """

    def __init__(self, pulse: Pulse, patience: float, growth: float = 0.0) -> None:
        self._pulse, self._patience = pulse, patience
        self._to_start = max(patience, START_SECONDS) + growth
        """A cluster that grows brings the nodes for them first."""

    def look(self, signs: Sequence[Sign], now: float) -> Stall | None:
        silence = self._pulse.silence()
        started = self._pulse.started
        if silence <= (self._patience if started else self._to_start):
            return None
        hanging = culprits([sign for sign in signs if sign.role.startswith("learner")])
        phase = self._pulse.last_phase()
        if hanging:
            phase = f"{phase}; {hanging[0].phase}"
        return Stall(
            role=", ".join(sign.role for sign in hanging) or "learner",
            phase=phase,
            message=f"no step for {silence:.0f} s",
            signs=hanging,
        )

    def mend(self, stall: Stall) -> JobStopped | None:
        message = f"{stall.role}: {stall.message}: {stall.phase}"
        return JobStopped(reason=StopReason.STALLED, message=message, retryable=True)

    def returned(self, signs: Sequence[Sign]) -> Recovered | None:
        return None  # the next attempt says so
