"""How the learners' part of an attempt ended, as a file that outlives them all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rlhf_service.job import StopReason
from rlhf_service.storage import JobFolder, write_atomically

REPEATS = 3
"""Unexpected exceptions at one place before the job fails instead of trying again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The learners' last word."""

    reason: StopReason
    message: str = ""

    def write(self, folder: JobFolder, attempt: int) -> None:
        """Keep it, unless another rank spoke first."""
        if not folder.outcome(attempt).exists():
            write_atomically(folder.outcome(attempt), json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: JobFolder, attempt: int) -> Outcome | None:
        try:
            found = json.loads(folder.outcome(attempt).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(StopReason(found["reason"]), found["message"])


def record_fault(folder: JobFolder, place: str, message: str) -> int:
    """Note an unexpected exception at `place`. Returns how often it happened there in a row."""
    with folder.faults.open("a", encoding="utf-8") as out:
        out.write(json.dumps({"place": place, "message": message}) + "\n")
    places = [
        json.loads(line)["place"] for line in folder.faults.read_text(encoding="utf-8").splitlines()
    ]
    count = 0
    for found in reversed(places):
        if found != place:
            break
        count += 1
    return count
