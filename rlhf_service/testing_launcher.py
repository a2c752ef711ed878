"""A JobLauncher for tests: a cluster in memory that does what the test says."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

from rlhf_service.errors import LauncherError, LauncherUnreachable
from rlhf_service.launching import (
    Capacity,
    Inventory,
    LaunchRequest,
    LaunchState,
    Submission,
)
from rlhf_service.storage import JobFolder, write_atomically


@dataclass(slots=True)
class FakeAttempt:
    """One submission as the fake cluster sees it."""

    request: LaunchRequest
    state: LaunchState = LaunchState.RUNNING
    log: str = ""
    actors: list[str] = field(default_factory=list)

    @property
    def folder(self) -> JobFolder:
        return JobFolder(Path(self.request.storage))


class FakeLauncher:
    """Runs nothing. A submission is RUNNING until the test ends it, or its stop flag is seen.

    Example:
        >>> launcher = FakeLauncher()
        >>> launcher.submit(request)  # doctest: +SKIP
        >>> launcher.crash("job-1-a1", log="killed")  # doctest: +SKIP
    """

    def __init__(self, cpus: float = 2.0, gpus: float = 0.0) -> None:
        self.total = Capacity(cpus, gpus)
        self.reachable = True
        self.refuses = False
        """A reachable cluster that will not take submissions."""
        self.late = 0
        """Submit calls that are carried out and answered too late."""
        self.pending = False
        """New submissions stay PENDING until `begin`."""
        self.stubborn = False
        """Drivers ignore the stop flag; `stop` still ends them."""
        self.submits: list[str] = []
        """Every submit call, repeats included."""
        self.stops: list[str] = []
        self.removals: list[str] = []
        """Jobs whose leftovers were to be removed."""
        self.immortal = False
        """Removing leftovers does not help."""
        self.attempts: dict[str, FakeAttempt] = {}
        self._lock = threading.RLock()

    # The port

    def submit(self, request: LaunchRequest) -> None:
        with self._lock:
            self._reach()
            if self.refuses:
                raise LauncherError("the fake cluster takes no submissions")
            self.submits.append(request.submission_id)
            state = LaunchState.PENDING if self.pending else LaunchState.RUNNING
            actors = [f"rlhf/{request.job_id}/rollout-0"]
            self.attempts.setdefault(
                request.submission_id, FakeAttempt(request, state=state, actors=actors)
            )
            if self.late:
                self.late -= 1
                raise LauncherUnreachable("the fake cluster answers too late")

    def stop(self, submission_id: str) -> None:
        with self._lock:
            self._reach()
            self.stops.append(submission_id)
            attempt = self.attempts.get(submission_id)
            if attempt is not None and attempt.state is not LaunchState.ENDED:
                self.end(submission_id)

    def state(self, submission_id: str) -> LaunchState:
        with self._lock:
            self._reach()
            attempt = self.attempts.get(submission_id)
            if attempt is None:
                return LaunchState.UNKNOWN
            obeys = attempt.state is LaunchState.RUNNING and not self.stubborn
            if obeys and attempt.folder.stop_flag.exists():
                self.end(submission_id)
            return attempt.state

    def leftovers(self, job_id: str) -> list[str]:
        with self._lock:
            self._reach()
            mine = [a for a in self.attempts.values() if a.request.job_id == job_id]
            return [actor for attempt in mine for actor in attempt.actors]

    def remove(self, job_id: str) -> None:
        with self._lock:
            self._reach()
            self.removals.append(job_id)
            for attempt in self.attempts.values():
                dead = attempt.state is LaunchState.ENDED and not self.immortal
                if attempt.request.job_id == job_id and dead:
                    attempt.actors = []

    def inventory(self) -> Inventory:
        with self._lock:
            self._reach()
            submissions, parts = [], dict[str, list[str]]()
            for attempt in self.attempts.values():
                request = attempt.request
                if attempt.state in (LaunchState.PENDING, LaunchState.RUNNING):
                    submissions.append(
                        Submission(
                            job_id=request.job_id, attempt=request.attempt, owner=request.owner
                        )
                    )
                if attempt.actors:
                    parts.setdefault(request.job_id, []).extend(attempt.actors)
            return Inventory(submissions, parts)

    def logs(self, submission_id: str) -> str:
        with self._lock:
            self._reach()
            return self.attempts[submission_id].log if submission_id in self.attempts else ""

    def capacity(self) -> Capacity:
        with self._lock:
            self._reach()
            return self.total

    def close(self) -> None:
        return None

    # What the test makes happen

    def begin(self, submission_id: str) -> None:
        """The driver starts."""
        self.attempts[submission_id].state = LaunchState.RUNNING

    def end(self, submission_id: str, *, leftovers: bool = False) -> None:
        """The driver exits; `leftovers`: its actors live on."""
        with self._lock:
            attempt = self.attempts[submission_id]
            attempt.state = LaunchState.ENDED
            if not leftovers:
                attempt.actors = []

    def crash(self, submission_id: str, log: str = "Killed") -> None:
        """The driver dies without a last word."""
        self.attempts[submission_id].log = log
        self.end(submission_id)

    def succeed(self, submission_id: str) -> None:
        """The driver writes the completion record and exits."""
        attempt = self.attempts[submission_id]
        write_atomically(attempt.folder.result, json.dumps({"job_id": attempt.request.job_id}))
        self.end(submission_id)

    def lose(self) -> None:
        """The cluster is replaced by an empty one."""
        with self._lock:
            self.attempts.clear()

    def _reach(self) -> None:
        if not self.reachable:
            raise LauncherError("the fake cluster is unreachable")
