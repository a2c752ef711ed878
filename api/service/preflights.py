"""Rewards looked at before a job: those that read text alone, on the data's references."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from api.schemas.checks import PreflightRequest, PreflightView
from api.service.admission import check_paths
from api.service.caller import Caller
from api.service.faults import Busy, InvalidSpec
from api.service.graders import runs_here
from api.service.territory import Territory
from rlhf_service.events import PreflightCompleted
from rlhf_service.spec import JobSpec
from rlhf_service.spec.reward import parts_of
from rlhf_service.spec.stages import PpoStage

TIMEOUT = 60.0
"""Seconds until the caller is told that it takes too long."""
AT_ONCE = 2
MAX_PROMPTS = 256
"""Prompts that are looked at."""


class Preflights:
    """What `/v1/jobs:preflight` calls."""

    def __init__(self, territory: Territory, roots: Sequence[Path]) -> None:
        self.territory = territory
        self.roots = roots
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="preflight")
        self._running = 0

    async def look(self, caller: Caller, asked: PreflightRequest) -> PreflightView:
        """Raises UserError or a Fault naming the field."""
        for index, stage in enumerate(asked.spec.stages):
            if isinstance(stage, PpoStage) and asked.stage in (None, stage.name):
                check_reward(f"stages[{index}].reward", stage)
                break
        await self.territory.check(caller, asked.spec)
        await asyncio.to_thread(check_paths, asked.spec, self.roots)
        if self._running >= AT_ONCE:
            raise Busy("other rewards are being looked at; try again in a moment")
        self._running += 1
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, look, asked.spec, asked.stage)
        future.add_done_callback(self._done)
        try:
            found = await asyncio.wait_for(asyncio.shield(future), TIMEOUT)
        except TimeoutError:
            raise Busy(f"no findings within {TIMEOUT:g} s; use `rlhf preflight`") from None
        return PreflightView(findings=found)

    def _done(self, _: object) -> None:
        self._running -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def check_reward(field: str, stage: PpoStage) -> None:
    """Whether this process may run the stage's reward. Raises InvalidSpec."""
    for place, part in parts_of(stage.reward, field):
        if not runs_here(part):
            text = (
                f"a {part.type!r} reward is not run by the control plane; use the command line: "
                "rlhf preflight job.yaml"
            )
            raise InvalidSpec.of([{"field": f"{place}.type", "message": text}])
    if stage.preflight.num_prompts > MAX_PROMPTS:
        text = f"at most {MAX_PROMPTS} are looked at here; lower it, or use rlhf preflight job.yaml"
        at = field.removesuffix("reward") + "preflight.num_prompts"
        raise InvalidSpec.of([{"field": at, "message": text}])


def look(spec: JobSpec, name: str | None) -> PreflightCompleted:
    # Brings in numpy and the metrics' libraries; paid for by the first who asks.
    from rlhf_service.dry_run import look_at_answers

    return look_at_answers(spec, name)
