"""Processes that do one thing for the control plane."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from api.service.child import Broke, answer_of
from tests.api.served import until

pytestmark = pytest.mark.asyncio


@pytest.fixture
def module(tmp_path: Path) -> dict[str, str]:
    """The environment in which `python -m deed CODE` runs that code."""
    (tmp_path / "deed.py").write_text("import sys; exec(sys.argv[1])")
    return {"PYTHONPATH": str(tmp_path)}


async def test_the_last_line_is_the_answer(module: dict[str, str]) -> None:
    code = "print('a warning'); print('{\"path\": \"x\"}')"
    assert await answer_of("deed", code, seconds=60, environment=module) == {"path": "x"}


@pytest.mark.parametrize("code", ["", "print('done')", "print('3')", "1 / 0"])
async def test_one_that_says_nothing_of_use_broke(module: dict[str, str], code: str) -> None:
    with pytest.raises(Broke) as caught:
        await answer_of("deed", code, seconds=60, environment=module)
    assert ("ZeroDivisionError" in str(caught.value)) == (code == "1 / 0")


async def test_nothing_is_left_behind(module: dict[str, str]) -> None:
    code = "import time; time.sleep(600)"

    def running() -> list[psutil.Process]:
        children = psutil.Process().children()
        return [child for child in children if child.cmdline()[-2:] == ["deed", code]]

    with pytest.raises(TimeoutError):
        await answer_of("deed", code, seconds=0.5, environment=module)
    assert running() == []
    asking = asyncio.create_task(answer_of("deed", code, seconds=60, environment=module))
    await asyncio.to_thread(until, running)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert running() == []
