"""Scores from Python of the user's own, in a sandboxed process."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from rlhf_service.errors import SpecError
from rlhf_service.records import Rollout, Score, ScoreFailure, ScoreOutcome
from rlhf_service.reward.base import finite
from rlhf_service.reward.operator import Operator, PythonMode
from rlhf_service.reward.sandbox.worker import Worker, WorkerGone, WorkerLate
from rlhf_service.spec.judges import PythonReward

KINDS = frozenset({"raised", "resource", "bad_answer"})
FATAL = frozenset({"timeout", "resource"})
"""Failures after which the process is not to be trusted with the next item."""


class PythonGrader:
    """Scores by PythonReward: one process for a batch, another after each one that had to die."""

    def __init__(self, spec: PythonReward, operator: Operator) -> None:
        """Raises SpecError when the operator does not allow it or the sandbox cannot be had."""
        if operator.python is PythonMode.OFF:
            raise SpecError("python graders are off here; set RLHF_ALLOW_PYTHON_GRADERS=1")
        self._spec, self._mode = spec, operator.python
        self._start("def grade(sample, item): return 0", 1).close()

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        deadline = time.monotonic() + self._spec.deadline
        worker: Worker | None = None
        outcomes: list[ScoreOutcome] = []
        try:
            for index, rollout in enumerate(rollouts):
                if time.monotonic() >= deadline:
                    message = f"not graded within the batch's {self._spec.deadline:g} s"
                    outcomes.append(ScoreFailure(kind="timeout", message=message))
                    continue
                worker = worker or self._start(self._spec.source, len(rollouts) - index)
                outcome = self._grade(worker, index, rollout, deadline)
                if isinstance(outcome, ScoreFailure) and outcome.kind in FATAL:
                    worker.close()
                    worker = None
                outcomes.append(outcome)
        finally:
            if worker is not None:
                worker.close()
        return outcomes

    def _start(self, source: str, items: int) -> Worker:
        cpu = items * self._spec.timeout + 5
        return Worker(source, self._mode, self._spec.memory_mb, cpu)

    def _grade(self, worker: Worker, index: int, rollout: Rollout, deadline: float) -> ScoreOutcome:
        ask = {"id": index, "sample": sample_of(rollout), "item": dict(rollout.prompt.item)}
        seconds = min(self._spec.timeout, deadline - time.monotonic())
        try:
            reply = worker.ask(ask, seconds)
        except WorkerLate:
            message = f"grade took more than {seconds:.3g} s"
            return ScoreFailure(kind="timeout", message=message)
        except WorkerGone as fault:
            return ScoreFailure(kind="resource", message=f"the grader's process: {fault}")
        value, kind = reply.get("value"), reply.get("kind")
        if reply.get("id") != index:
            return ScoreFailure(kind="resource", message="the grader's process: a forged reply")
        if isinstance(value, float):
            return finite(Score(value=value, components={self._spec.name: value}))
        known = kind if isinstance(kind, str) and kind in KINDS else "raised"
        return ScoreFailure(kind=known, message=str(reply.get("message"))[:1000])


def sample_of(rollout: Rollout) -> dict[str, object]:
    """What `grade` gets as `sample`: the response, and what it says as JSON where it does."""
    try:
        said = json.loads(rollout.text)
    except (ValueError, RecursionError):
        said = None
    return {"output_text": rollout.text, "output_json": said}
