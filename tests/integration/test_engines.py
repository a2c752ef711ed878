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
from tests.integration.engine_worker import make_network

ROOT = Path(__file__).parents[2]
SECONDS = 600
"""The first worker of a new installation waits for DeepSpeed to compile its operator."""


@functools.cache
def plain(adapter: bool):
    """Norms and weights of three steps in plain torch."""
    network = make_network(adapter)
    engine = PlainEngine(network, OptimizerSpec(max_grad_norm=0.05))
    inputs = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(1))
    targets = torch.randint(0, 4, (3, 8), generator=torch.Generator().manual_seed(2))
    norms = []
    for x, y in zip(inputs, targets, strict=True):
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


CASES = [
    Case(1, 0, 8),
    Case(2, 0, 3),
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


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, dict[str, Any]]:
    """What came of each case. Those of as many ranks share their processes."""
    found: dict[Case, dict[str, Any]] = {}
    for ranks in (1, 2):
        cases = [case for case in CASES if case.ranks == ranks]
        folder = tmp_path_factory.mktemp(f"ranks-{ranks}")
        given = json.dumps([asdict(case) for case in cases])
        words = [sys.executable, "-m", "tests.integration.engine_worker", given]
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
        for number, case in enumerate(cases):
            told = folder / f"{number}.json"
            found[case] = json.loads(told.read_text()) if told.exists() else {"no": log.read_text()}
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_stage_ranks_and_microbatches_make_the_same_steps(outcomes, case):
    found = outcomes[case]
    assert "no" not in found, found["no"][-3000:]
    norms, state = plain(case.adapter)
    assert found["state"].keys() == state.keys()
    exact = case.precision == "fp32"
    assert found["norms"] == pytest.approx(norms, rel=1e-5 if exact else 2e-2)
    for name, tensor in state.items():
        tolerance = {"rtol": 0, "atol": 1e-6 if exact else 5e-3}
        torch.testing.assert_close(torch.tensor(found["state"][name]), tensor, **tolerance)
    assert found["restored"]
    assert found["read"]  # without an engine
