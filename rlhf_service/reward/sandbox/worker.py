"""A grader's process, seen from outside."""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping

from rlhf_service.errors import SpecError
from rlhf_service.reward.operator import PythonMode
from rlhf_service.reward.sandbox.command import drop_to, grader_command

START_SECONDS = 20.0
LONGEST_REPLY = 64 * 1024
COMPLAINT = 2000


class WorkerGone(Exception):
    """The process ended, or said what is no reply."""


class WorkerLate(Exception):
    """No reply in time."""


class Worker:
    """One process. Whatever it raises, it must be closed, which kills everything in it."""

    def __init__(self, source: str, mode: PythonMode, memory_mb: int, cpu_seconds: float) -> None:
        """Raises SpecError when the sandbox cannot be had here."""
        self._folder = tempfile.TemporaryDirectory(prefix="grader-")
        self._stderr = tempfile.TemporaryFile()
        self._unread = b""
        self._process: subprocess.Popen[bytes] | None = None
        try:
            os.chmod(self._folder.name, 0o755)
            self._process = subprocess.Popen(
                grader_command(mode),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                cwd=self._folder.name,
                env={},
                start_new_session=True,
                bufsize=0,
            )
            os.set_blocking(self._process.stdin.fileno(), False)  # type: ignore[union-attr]
            os.set_blocking(self._process.stdout.fileno(), False)  # type: ignore[union-attr]
            job = {
                "source": source,
                "uid": drop_to(),
                "memory_bytes": memory_mb * 2**20,
                "cpu_seconds": math.ceil(cpu_seconds),
            }
            self.ask(job, START_SECONDS)
        except (WorkerGone, WorkerLate, OSError) as fault:
            self._stderr.seek(0)
            said = self._stderr.read(COMPLAINT).decode(errors="replace").strip()
            self.close()
            raise SpecError(
                f"the sandbox for python graders cannot be had here: {said or fault}"
            ) from None
        except BaseException:
            self.close()
            raise

    def ask(self, request: Mapping[str, object], seconds: float) -> Mapping[str, object]:
        """The reply to one line. Raises WorkerGone or WorkerLate; then nothing more can be asked."""
        deadline = time.monotonic() + seconds
        try:
            self._write(json.dumps(request, default=str).encode() + b"\n", deadline)
            reply = json.loads(self._read(deadline))
        except (OSError, ValueError, RecursionError) as fault:
            raise WorkerGone(f"no reply ({type(fault).__name__}){self._ending()}") from None
        if not isinstance(reply, dict):
            raise WorkerGone("what it said is no reply")
        return reply

    def _write(self, data: bytes, deadline: float) -> None:
        assert self._process is not None and self._process.stdin is not None
        descriptor, view = self._process.stdin.fileno(), memoryview(data)
        while view:
            wait(descriptor, selectors.EVENT_WRITE, deadline)
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                continue

    def _read(self, deadline: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            if len(self._unread) > LONGEST_REPLY:
                raise ValueError("endless line")
            wait(descriptor, selectors.EVENT_READ, deadline)
            chunk = os.read(descriptor, LONGEST_REPLY)
            if not chunk:
                raise OSError("closed")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _ending(self) -> str:
        """How the process ended, for a message."""
        assert self._process is not None
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return ""
        number = -code if code < 0 else code - 128 if code > 128 else 0
        if number in {s.value for s in signal.Signals}:
            return f", ended by {signal.Signals(number).name}"
        return f", exit code {code}"

    def close(self) -> None:
        """Kill everything in it."""
        if (process := self._process) is not None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self._stderr.close()
        self._folder.cleanup()


def wait(descriptor: int, event: int, deadline: float) -> None:
    """Until the descriptor is ready. Raises WorkerLate."""
    left = deadline - time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, event)
        if left <= 0 or not selector.select(left):
            raise WorkerLate
