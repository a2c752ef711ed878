"""DeepSpeed engines at every ZeRO stage against plain torch: the same steps, the same norms."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize(
    ("ranks", "zero", "micro", "precision", "offload", "adapter"),
    [
        (1, 0, 8, "fp32", False, False),
        (2, 0, 3, "fp32", False, False),
        (2, 1, 2, "fp32", False, False),
        (2, 2, 1, "fp32", False, False),
        (2, 3, 2, "fp32", False, False),
        (2, 2, 2, "fp32", True, False),
        (2, 3, 4, "fp32", True, False),
        (2, 1, 2, "bf16", False, False),
        (2, 3, 2, "bf16", False, False),
        (1, 0, 8, "fp32", False, True),
        (2, 3, 2, "fp32", False, True),
        (2, 2, 2, "bf16", False, True),
    ],
)
def test_stage_ranks_and_microbatches_make_the_same_steps(
    tmp_path, ranks, zero, micro, precision, offload, adapter
):
    settings = json.dumps(
        {
            "ranks": ranks,
            "zero": zero,
            "micro": micro,
            "precision": precision,
            "offload": offload,
            "adapter": adapter,
        }
    )
    out = tmp_path / "out.json"
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.engine_worker", settings, str(r), str(out)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for r in range(ranks)
    ]
    printed = [worker.communicate(timeout=SECONDS)[0].decode() for worker in workers]
    assert out.exists(), printed[0][-3000:]
    found = json.loads(out.read_text())
    norms, state = plain(adapter)
    assert found["state"].keys() == state.keys()
    exact = precision == "fp32"
    assert found["norms"] == pytest.approx(norms, rel=1e-5 if exact else 2e-2)
    for name, tensor in state.items():
        tolerance = {"rtol": 0, "atol": 1e-6 if exact else 5e-3}
        torch.testing.assert_close(torch.tensor(found["state"][name]), tensor, **tolerance)
    assert found["restored"]
    assert found["read"]  # without an engine
