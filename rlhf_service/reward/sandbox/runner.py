"""Runs inside the sandbox: gives up what it holds, then grades one line of JSON at a time.

Started with `python -c`, so it imports the standard library only. The first line is the job, each
further line one item; each gets one line back. Python of the user's own runs in this process: what
protects the others is what the process can no longer do, not this file.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
from typing import Any

QUOTED = 500


def give_up(job: dict[str, Any]) -> None:
    """Drop root, where it is had, and set limits that cannot be raised again."""
    if job["uid"] is not None:
        os.setgroups([])
        os.setresgid(job["uid"], job["uid"], job["uid"])
        os.setresuid(job["uid"], job["uid"], job["uid"])
    for limit, value in (
        (resource.RLIMIT_CPU, job["cpu_seconds"]),
        (resource.RLIMIT_AS, job["memory_bytes"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_NPROC, 1),  # itself: neither processes nor threads
    ):
        resource.setrlimit(limit, (value, value))


class Discard(io.TextIOBase):
    """Takes what the grader prints. It may write no file, and inside there is no null device."""

    def write(self, text: str) -> int:
        return len(text)


def graded(grade: Any, ask: dict[str, Any]) -> dict[str, Any]:
    """One item's reply."""
    try:
        if isinstance(grade, BaseException):
            raise grade
        value = grade(ask["sample"], ask["item"])
        if not isinstance(value, (int, float)):
            return {"kind": "bad_answer", "message": f"grade returned {type(value).__name__}"}
        return {"value": float(value)}
    except MemoryError:
        return {"kind": "resource", "message": "out of memory"}
    except BaseException as fault:
        try:
            said = str(fault)[:QUOTED]
        except BaseException:
            said = ""
        return {"kind": "raised", "message": f"{type(fault).__name__}: {said}"}


def main() -> None:
    # What the grader prints must not become a reply, nor what it reads a request.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    nothing = os.open("/", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    job = json.loads(requests.readline())
    give_up(job)
    sys.stdout = sys.stderr = Discard()
    replies.write('{"ready": true}\n')
    replies.flush()
    names: dict[str, Any] = {"__name__": "grader"}
    grade: Any = None
    for line in requests:
        ask = json.loads(line)
        if grade is None:
            try:
                exec(compile(job["source"], "<grader>", "exec"), names)
                grade = names["grade"]
            except BaseException as fault:
                grade = fault
        replies.write(json.dumps({"id": ask["id"], **graded(grade, ask)}) + "\n")
        replies.flush()
    sys.exit(0)


main()
