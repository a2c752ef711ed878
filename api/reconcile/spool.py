"""Reads the events that producers left in a job's folder. Posting is faster; this misses none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from api.service.events import check_record
from api.service.faults import BadParameter
from rlhf_service.events import EventRecord
from rlhf_service.storage import JobFolder

log = logging.getLogger("rlhf.reconcile")

BATCH = 500


class Spool:
    """Remembers how far each file was read. Forgetting costs only time: storing is deduplicated."""

    def __init__(self) -> None:
        self._read: dict[Path, int] = {}

    def batches(self, job_id: str, folder: JobFolder) -> Iterator[list[EventRecord]]:
        """What was added since the last call. A batch counts as read when the next is asked for."""
        for path in sorted(folder.events.glob("*.jsonl")):
            start = self._read.get(path, 0)
            if path.stat().st_size <= start:
                continue
            batch: list[EventRecord] = []
            with path.open("rb") as file:
                file.seek(start)
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # torn: its writer died or is still writing
                    start += len(line)
                    record = parse(job_id, path, line)
                    if record is not None:
                        batch.append(record)
                    if len(batch) == BATCH:
                        yield batch
                        self._read[path] = start
                        batch = []
            if batch:
                yield batch
            self._read[path] = start

    def forget(self, folder: JobFolder) -> None:
        """Drop what is remembered of a job that ended."""
        for path in [path for path in self._read if path.is_relative_to(folder.root)]:
            del self._read[path]


def parse(job_id: str, path: Path, line: bytes) -> EventRecord | None:
    """The line's record; None, with a warning, for one that no driver of this job wrote."""
    try:
        record = EventRecord.model_validate_json(line)
        check_record(job_id, record, path.name)
    except (ValidationError, BadParameter) as fault:
        log.warning("%s: skipped a line that is no event of this job: %s", path, fault)
        return None
    return record
