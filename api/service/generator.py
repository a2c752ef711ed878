"""A process of ours that answers for one model. Torch is loaded there, never here."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

from api.service.faults import BadParameter, GenerationFailed
from rlhf_service.generation.protocol import Ask, Reply

LINE = 2**20
"""Bytes of one reply at most."""
SETTLE = 10.0
"""Seconds that a cancelled answer has to end before its process is killed."""
KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""What the process is told of the environment; keys and passwords are not among it."""


class Generator:
    """Starts its process when first asked; answers one request at a time."""

    def __init__(self, folder: Path, threads: int, timeout: float) -> None:
        self.folder = folder
        self.users = 0
        """Requests under way or waiting."""
        self.used_at = 0.0
        self._threads = threads
        self._timeout = timeout
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._settling: asyncio.Task[None] | None = None

    async def replies(self, ask: Ask) -> AsyncGenerator[Reply]:
        """Pieces of the answer; the last one is `end`. Raises BadParameter or GenerationFailed.

        Whoever leaves early cancels the answer.
        """
        await self._turn.acquire()
        ended, process = False, None
        try:
            async with asyncio.timeout(self._timeout) as limit:
                process = await self._running()
                assert process.stdin is not None
                process.stdin.write(ask.model_dump_json().encode() + b"\n")
                await process.stdin.drain()
                deadline = limit.when()
            while not ended:
                async with asyncio.timeout_at(deadline):
                    reply = await read(process)
                ended = reply.type in ("end", "error")
                if reply.type == "error":
                    raise BadParameter(reply.text)
                yield reply
        except (TimeoutError, OSError) as fault:
            self.kill()
            seconds = f"no answer within {self._timeout:g} s; ask for less"
            text = seconds if isinstance(fault, TimeoutError) else f"it broke: {fault}"
            raise GenerationFailed(text) from None
        except GenerationFailed:
            self.kill()
            raise
        finally:
            if ended or self._process is None or process is None:
                if not ended:
                    self.kill()  # it was still loading
                self._turn.release()
            else:
                self._settling = asyncio.create_task(self._settle(process))

    async def _running(self) -> Process:
        """The process, its model loaded."""
        if self._process is None or self._process.returncode is not None:
            environment = {name: os.environ[name] for name in KEPT if name in os.environ}
            environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(self._threads)}
            command = [sys.executable, "-m", "rlhf_service.generation", str(self.folder)]
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment, limit=LINE
            )
            first = await read(self._process)
            if first.type != "ready":
                self.kill()
                raise BadParameter(f"model: {first.text}", "model")
        return self._process

    async def _settle(self, process: Process) -> None:
        """Cancel an answer that nobody waits for, so that the next one starts on a clean line."""
        try:
            async with asyncio.timeout(SETTLE):
                assert process.stdin is not None
                process.stdin.write(b"\n")
                await process.stdin.drain()
                while (await read(process)).type not in ("end", "error"):
                    pass
        except (TimeoutError, OSError, GenerationFailed):
            self.kill()
        finally:
            self._turn.release()

    @property
    def loaded(self) -> bool:
        """Whether its process has the model."""
        return self._process is not None

    async def close(self) -> None:
        """End the process and see it gone, while the event loop can still take notice."""
        process = self._process
        self.kill()
        if self._settling is not None:
            with suppress(asyncio.CancelledError):
                await self._settling
        if process is not None:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            await process.wait()
            with suppress(OSError, RuntimeError):
                await process.stdout.read()

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        self._process = None


async def read(process: Process) -> Reply:
    """The next reply. Raises GenerationFailed when there is none."""
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
    except ValueError:  # longer than LINE
        raise GenerationFailed("the model's process sent more than a line may have") from None
    if not line:
        raise GenerationFailed("the model's process ended; it may have had too little memory")
    return Reply.model_validate_json(line)
