"""The launcher behind a deadline, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rlhf_service.errors import LauncherError, LauncherUnreachable
from rlhf_service.launching import (
    Capacity,
    Inventory,
    JobLauncher,
    LaunchRequest,
    LaunchState,
)

Answer = TypeVar("Answer")


class Cluster:
    """Asynchronous face of a JobLauncher. A call without an answer raises LauncherError."""

    def __init__(self, launcher: JobLauncher, timeout: float, growth: Capacity) -> None:
        self.launcher = launcher
        self.timeout = timeout
        self.growth = growth
        """What an autoscaler can make of the cluster."""
        self.fault: str | None = None
        """Why the last call failed; None while the cluster answers."""
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="launcher")

    async def submit(self, request: LaunchRequest) -> None:
        await self._call(lambda: self.launcher.submit(request))

    async def stop(self, submission_id: str) -> None:
        await self._call(lambda: self.launcher.stop(submission_id))

    async def state(self, submission_id: str) -> LaunchState:
        return await self._call(lambda: self.launcher.state(submission_id))

    async def leftovers(self, job_id: str) -> list[str]:
        return await self._call(lambda: self.launcher.leftovers(job_id))

    async def remove(self, job_id: str) -> None:
        await self._call(lambda: self.launcher.remove(job_id))

    async def inventory(self) -> Inventory:
        return await self._call(self.launcher.inventory)

    async def logs(self, submission_id: str) -> str:
        return await self._call(lambda: self.launcher.logs(submission_id))

    async def capacity(self) -> Capacity:
        """What the cluster has, or can grow to: nodes come only for jobs that were submitted."""
        return (await self._call(self.launcher.capacity)).grown(self.growth)

    def close(self) -> None:
        """Stop taking calls; one that hangs is left behind."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.launcher.close()

    async def _call(self, work: Callable[[], Answer]) -> Answer:
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            answer = await asyncio.wait_for(future, self.timeout)
        except TimeoutError:
            self.fault = f"no answer within {self.timeout:g} s"
            raise LauncherUnreachable(self.fault) from None
        except LauncherError as fault:
            self.fault = str(fault)
            raise
        self.fault = None
        return answer
