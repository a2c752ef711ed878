"""DeepSpeed engines at every ZeRO stage against plain torch: the same steps, the same norms."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf_service.spec import OptimizerSpec
from rlhf_service.testing import PlainEngine
from tests.integration.engine_worker import make_network, rows
from tests.small import apart

ROOT = Path(__file__).parents[2]
SECONDS = 600
"""The first worker of a new installation waits for DeepSpeed to compile its operator."""


@functools.cache
def plain(adapter: bool, outputs: int):
    """Norms and weights of three steps in plain torch."""
    network = make_network(adapter, outputs)
    engine = PlainEngine(network, OptimizerSpec(max_grad_norm=0.05))
    norms = []
    for x, y in zip(*rows(), strict=True):
        engine.backward(torch.nn.functional.cross_entropy(network(x), y))
        norms.append(engine.step(1e-2))
    return norms, engine.full_state()


@dataclass(frozen=True, slots=True)
class Case:
    """One way to train."""

    ranks: int
    zero: int
    micro: int
    precision: str = "fp32"
    offload: bool = False
    adapter: bool = False
    outputs: int = 4


CASES = [
    Case(1, 0, 8),
    Case(2, 0, 4),
    Case(2, 1, 2),
    Case(2, 2, 1),
    Case(2, 3, 2),
    Case(2, 2, 2, offload=True),
    Case(2, 3, 4, offload=True),
    Case(2, 1, 2, "bf16"),
    Case(2, 3, 2, "bf16"),
    Case(1, 0, 8, adapter=True),
    Case(2, 3, 2, adapter=True),
    Case(2, 2, 2, "bf16", adapter=True),
]


ELASTIC = [
    Case(0, 0, 8),
    Case(0, 1, 2, outputs=5),  # divides over no ranks
    Case(0, 2, 3, outputs=5),
    Case(0, 3, 2, outputs=5),
    Case(0, 2, 2, offload=True),
    Case(0, 3, 4, offload=True),
    Case(0, 1, 2, "bf16"),
    Case(0, 3, 2, "bf16"),
    Case(0, 1, 2, adapter=True),
    Case(0, 3, 2, adapter=True),
    Case(0, 2, 2, "bf16", adapter=True),
]
"""Ways to train that change the number of ranks between the last two steps."""

Told = dict[str, dict[str, Any]]
"""By name of the task."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What came of every task. Those of as many ranks share their processes."""
    folder = tmp_path_factory.mktemp("engines")
    alone = tasks("run", [case for case in CASES if case.ranks == 1])
    together = tasks("run", [case for case in CASES if case.ranks == 2])
    found = launch(1, alone + left("1-2-"), folder / "first")
    found |= launch(2, together + taken_up("1-2-") + left("2-3-"), folder / "second")
    found |= launch(3, taken_up("2-3-") + left("3-1-"), folder / "third")
    return found | launch(1, taken_up("3-1-"), folder / "fourth")


def tasks(do: str, cases: list[Case], before: str = "") -> list[dict[str, Any]]:
    return [{"do": do, "name": f"{before}{case}", "case": asdict(case)} for case in cases]


def left(change: str) -> list[dict[str, Any]]:
    return tasks("leave", ELASTIC, change)


def taken_up(change: str) -> list[dict[str, Any]]:
    return tasks("go_on", ELASTIC, change)


def launch(ranks: int, given: list[dict[str, Any]], folder: Path) -> Told:
    """Do the tasks on so many ranks."""
    folder.mkdir()
    words = [sys.executable, "-m", "tests.integration.engine_worker", json.dumps(given)]
    log = folder / "log"
    with log.open("wb") as out:
        workers = [
            subprocess.Popen(
                [*words, str(rank), str(ranks), str(folder)], cwd=ROOT, stdout=out, stderr=out
            )
            for rank in range(ranks)
        ]
        try:
            for worker in workers:
                worker.wait(SECONDS)
        finally:
            for worker in workers:
                worker.kill()
    found = {}
    for task in given:
        told = folder / f"{task['name']}.json"
        found[task["name"]] = (
            json.loads(told.read_text()) if told.exists() else {"no": log.read_text()}
        )
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_stage_ranks_and_microbatches_make_the_same_steps(outcomes, case):
    found = outcomes[str(case)]
    agree(found, case, slice(None))
    assert found["restored"]
    assert found["read"]  # without an engine
    frozen = found["frozen"]  # a network that only answers
    assert frozen["off"] < 1e-6
    assert frozen["held"] == (0 if case.zero == 3 else frozen["whole"])


@pytest.mark.parametrize("change", ["1-2-", "2-3-", "3-1-"])
@pytest.mark.parametrize("case", ELASTIC, ids=str)
def test_other_ranks_go_on_with_the_same_step(outcomes, case, change):
    found = outcomes[f"{change}{case}"]
    agree(found, case, slice(-1, None))
    assert found["restored"]
    assert found["clean"]


def agree(found: dict[str, Any], case: Case, steps: slice) -> None:
    """With plain torch, in these steps."""
    assert "no" not in found, found["no"][-3000:]
    norms, state = plain(case.adapter, case.outputs)
    assert found["state"].keys() == state.keys()
    exact = case.precision == "fp32"
    assert found["norms"] == pytest.approx(norms[steps], rel=1e-5 if exact else 2e-2)
    got = {name: torch.tensor(found["state"][name]) for name in state}
    if exact:
        for name, tensor in state.items():
            torch.testing.assert_close(got[name], tensor, rtol=0, atol=1e-6)
        return
    # Where a gradient is next to nothing, Adam makes a whole step of the sign that rounding leaves it.
    before = make_network(case.adapter, case.outputs).state_dict()
    assert apart(got, state) < 0.1 * apart(state, {name: before[name] for name in state})
