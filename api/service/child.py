"""A process of ours that does one thing for us: torch may be loaded there, never here."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from typing import Any

MOST_SAID = 4000
"""Characters kept of what it says on its error output."""


class Broke(Exception):
    """It ended without an answer; the text is the end of what it said instead."""


async def answer_of(
    module: str, *arguments: str, seconds: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The JSON object that `python -m <module>` says on its last line.

    Raises TimeoutError, or Broke. No process is left behind, also when nobody waits any more.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments), stdout=PIPE, stderr=PIPE, env=environment
    )
    try:
        out, faults = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return dict(json.loads(out.splitlines()[-1]))
    except (IndexError, TypeError, ValueError):
        raise Broke(faults.decode(errors="replace")[-MOST_SAID:]) from None
