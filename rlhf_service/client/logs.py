"""What a driver printed, read while it prints."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_service.client.records import Log

LOG_SECONDS = 1.0
"""Between two looks."""


@dataclass(slots=True)
class LogReading:
    """What has been read of a log, so that nothing is told twice."""

    tail: int | None
    """Lines to begin with; None for all."""
    _number: int = 0
    _read: int = 0

    def take(self, log: Log) -> str:
        """What is new. A newer attempt's log is told from its beginning."""
        if log.attempt != self._number:
            head = f"--- attempt {log.attempt} ---\n" if self._number else ""
            self._number, self._read = log.attempt, 0
        else:
            head = ""
        new, self._read = log.text[self._read :], len(log.text)
        if self.tail is not None and new:
            lines = new.splitlines(keepends=True)
            new, self.tail = "".join(lines[max(0, len(lines) - self.tail) :]), None
        return head + new
