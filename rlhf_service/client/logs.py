"""What a driver printed, read while it prints. Nothing here waits or sends."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_service.client.call import Call
from rlhf_service.client.calls import jobs
from rlhf_service.client.records import Log

LOG_SECONDS = 1.0
"""Between two looks."""


@dataclass(slots=True)
class LogReading:
    """How far a log has been read, so that nothing is told twice or left out."""

    job_id: str
    attempt: int | None = None
    """The newest when None; a newer one's log is then told after it."""
    tail: int | None = None
    """Lines to begin with; None for all."""
    behind: bool = False
    """There is more to read at once."""
    _number: int = 0
    _offset: int | None = None

    def call(self) -> Call[Log]:
        """The next look."""
        if self._offset is None:
            return jobs.log(self.job_id, self.attempt, tail=self.tail)
        return jobs.log(self.job_id, self.attempt, offset=self._offset)

    def take(self, log: Log) -> str:
        """What is new."""
        self.behind = self._number not in (0, log.attempt)
        self._number = log.attempt
        if self.behind:
            # What was asked for began where the other attempt's log had ended.
            self._offset = 0
            return f"--- attempt {log.attempt} ---\n"
        if log.attempt:
            self._offset = log.next_offset
        return log.text
