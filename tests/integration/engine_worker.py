"""One rank of tests/integration/test_engines.py, in a process of its own: case after case."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any


def make_network(adapter: bool):
    """Two layers; with `adapter` they are frozen under a low-rank one that is already in use."""
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4))
    if not adapter:
        return network
    from peft import LoraConfig, PeftModel

    config = LoraConfig(r=2, lora_alpha=8, target_modules=["0", "2"], init_lora_weights=False)
    return PeftModel(network, config, autocast_adapter_dtype=False)


def run(case: dict[str, Any], rank: int, ranks: int, folder: Path) -> dict[str, Any] | None:
    """Three steps of one case, then its checkpoint; what came of them, on rank 0."""
    import torch
    import torch.distributed as dist

    from rlhf_service.learner.deepspeed import DeepSpeedEngines
    from rlhf_service.learner.saved import saved_state
    from rlhf_service.spec import LearnerSpec, OptimizerSpec

    micro = int(case["micro"])
    learner = LearnerSpec(
        zero_stage=case["zero"], precision=case["precision"], offload_optimizer=case["offload"]
    )
    network = make_network(bool(case["adapter"]))
    engines = DeepSpeedEngines(learner, torch.device("cpu"))
    engine = engines(network, OptimizerSpec(max_grad_norm=0.05))
    inputs = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(1))
    targets = torch.randint(0, 4, (3, 8), generator=torch.Generator().manual_seed(2))
    dtype = torch.bfloat16 if case["precision"] == "bf16" else torch.float32
    norms = []
    for x, y in zip(inputs, targets, strict=True):
        mine, wanted = x.chunk(ranks)[rank].to(dtype), y.chunk(ranks)[rank]
        for start in range(0, len(mine), micro):
            if case["adapter"]:  # a look at the reference must leave no trace
                with network.disable_adapter(), torch.no_grad():
                    engine.module(mine[start : start + micro])
            logits = engine.module(mine[start : start + micro]).float()
            part = wanted[start : start + micro]
            engine.backward(torch.nn.functional.cross_entropy(logits, part, reduction="sum") / 8)
        norms.append(engine.step(1e-2))
    state = engine.full_state()
    kept = None if state is None else {k: v.float().tolist() for k, v in state.items()}
    engine.save(folder)
    dist.barrier()
    engine.backward(engine.module(inputs[0].chunk(ranks)[rank].to(dtype)).float().sum())
    engine.step(1.0)  # spoil the weights; loading must bring them back
    engine.load(folder)
    again = engine.full_state()
    found = None
    if kept is not None:
        whole = {k: v.to(dtype) for k, v in saved_state(folder).items()}
        read = {k: whole[k].float().tolist() for k in kept} == kept
        restored = {k: v.float().tolist() for k, v in again.items()} == kept
        found = {"norms": norms, "state": kept, "restored": restored, "read": read}
    engine.close()
    return found


def main(cases: list[dict[str, Any]], rank: int, ranks: int, folder: Path) -> None:
    """Leaves `<number of the case>.json` of each."""
    os.environ.update({"DS_ACCELERATOR": "cpu", "LOCAL_RANK": str(rank)})
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=300),
    )
    for number, case in enumerate(cases):
        found = run(case, rank, ranks, folder / f"checkpoint-{number}")
        if found is not None:
            (folder / f"{number}.json").write_text(json.dumps(found))
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
