"""What earlier lives of a job have said, read from its own event files."""

from __future__ import annotations

import json
import re

from rlhf_service.storage import JobFolder


def reported_steps(folder: JobFolder) -> dict[str, int]:
    """Stage → highest step that any earlier life reported."""
    highest: dict[str, int] = {}
    for path in sorted(folder.events.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                event = json.loads(line)["event"]
            except (ValueError, KeyError, TypeError):
                continue  # a line torn by a kill
            if event.get("type") == "step":
                stage, step = event["stage"], event["step"]
                highest[stage] = max(step, highest.get(stage, 0))
    return highest


def next_life(folder: JobFolder, attempt: int) -> int:
    """Number of the learner group's coming start within the attempt; 1 is the first."""
    pattern = re.compile(rf"a{attempt}-learner-(\d+)-0\.jsonl")
    lives = [int(m[1]) for p in folder.events.glob("*.jsonl") if (m := pattern.fullmatch(p.name))]
    return max(lives, default=0) + 1
