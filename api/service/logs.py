"""Parts of a driver's log."""

from __future__ import annotations

from dataclasses import dataclass

from api.schemas.jobs import LogsView
from api.service.faults import BadParameter


@dataclass(frozen=True, slots=True)
class LogPart:
    """Which part of a log is wanted."""

    tail: int | None = None
    """The last lines."""
    offset: int | None = None
    """What stands behind this character."""
    limit: int | None = None
    """At most this many characters."""

    def __post_init__(self) -> None:
        if self.tail is not None and self.offset is not None:
            raise BadParameter("is from the end and offset from the beginning; give one", "tail")

    def of(self, text: str) -> tuple[int, str]:
        """Where the part begins, and the part."""
        start = min(self.offset or 0, len(text))
        if self.tail is not None:
            start = last_lines(text, self.tail)
        return start, text[start:] if self.limit is None else text[start : start + self.limit]


def last_lines(text: str, lines: int) -> int:
    """Where the last `lines` lines of a text begin."""
    if lines == 0:
        return len(text)
    at = len(text) - text.endswith("\n")
    for _ in range(lines):
        at = text.rfind("\n", 0, at)
        if at < 0:
            return 0
    return at + 1


def log_view(job_id: str, attempt: int, text: str, part: LogPart, *, ended: bool) -> LogsView:
    offset, found = part.of(text)
    end = offset + len(found)
    return LogsView(
        job_id=job_id,
        attempt=attempt,
        text=found,
        offset=offset,
        next_offset=end,
        ended=ended and end == len(text),
    )
