"""One rank of tests/integration/test_engines.py, in a process of its own: case after case."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from rlhf_service.learner.base import Engine, EngineFactory

STEPS = 3
ROWS = 12
"""Of a step; they divide over one, two and three ranks."""


def make_network(adapter: bool, outputs: int = 4):
    """Two layers; with `adapter` they are frozen under a low-rank one that is already in use."""
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, outputs)
    )
    if not adapter:
        return network
    from peft import LoraConfig, PeftModel

    config = LoraConfig(r=2, lora_alpha=8, target_modules=["0", "2"], init_lora_weights=False)
    return PeftModel(network, config, autocast_adapter_dtype=False)


def run(case: dict[str, Any], rank: int, ranks: int, folder: Path) -> dict[str, Any] | None:
    """Three steps of one case, then its checkpoint; what came of them, on rank 0."""
    import torch
    import torch.distributed as dist

    from rlhf_service.learner.saved import saved_state

    network, engine = make_engine(case)
    dtype = torch.bfloat16 if case["precision"] == "bf16" else torch.float32
    frozen = factory(case).frozen(make_network(bool(case["adapter"]), int(case["outputs"])))
    norms = learn(case, network, engine, range(STEPS), rank, ranks)
    kept = listed(engine.full_state())
    engine.save(folder)
    dist.barrier()
    inputs, _ = rows()
    engine.backward(engine.module(inputs[0].chunk(ranks)[rank].to(dtype)).float().sum())
    engine.step(1.0)  # spoil the weights; loading must bring them back
    engine.load(folder)
    again = listed(engine.full_state())
    found = None
    if kept is not None:
        whole = {k: v.to(dtype) for k, v in saved_state(folder).items()}
        read = {k: whole[k].float().tolist() for k in kept} == kept
        found = {"norms": norms, "state": kept, "restored": again == kept, "read": read}
    with torch.no_grad():  # it stayed what it was, while the other learnt
        answers = frozen(inputs[0].to(dtype)).float()
        plain = make_network(bool(case["adapter"]), int(case["outputs"])).to(dtype)
        wanted = plain(inputs[0].to(dtype)).float()
    engine.close()
    if found is not None:
        held, whole_size = (sum(p.numel() for p in n.parameters()) for n in (frozen, plain))
        off = float((answers - wanted).abs().max())
        found["frozen"] = {"off": off, "held": held, "whole": whole_size}
    return found


def leave(case: dict[str, Any], rank: int, ranks: int, folder: Path) -> dict[str, Any] | None:
    """All steps but the last, and a checkpoint for another number of ranks."""
    network, engine = make_engine(case)
    norms = learn(case, network, engine, range(STEPS - 1), rank, ranks)
    engine.save(folder)
    engine.close()
    return {"norms": norms} if rank == 0 else None


def go_on(case: dict[str, Any], rank: int, ranks: int, folder: Path) -> dict[str, Any] | None:
    """The last step, from what another number of ranks left."""
    network, engine = make_engine(case)
    engine.load(folder)
    norms = learn(case, network, engine, range(STEPS - 1, STEPS), rank, ranks)
    kept = listed(engine.full_state())
    saved = folder.with_name(f"{folder.name}-again")
    engine.save(saved)
    engine.close()
    _, engine = make_engine(case)
    engine.load(saved)  # of as many ranks
    again = listed(engine.full_state())
    engine.close()
    clean = not (folder / ".regrouped").exists()
    return kept and {"norms": norms, "state": kept, "restored": again == kept, "clean": clean}


def make_engine(case: dict[str, Any]) -> tuple[torch.nn.Module, Engine]:
    """The case's network and engine. Collective."""
    from rlhf_service.spec import OptimizerSpec

    network = make_network(bool(case["adapter"]), int(case["outputs"]))
    return network, factory(case)(network, OptimizerSpec(max_grad_norm=0.05))


def factory(case: dict[str, Any]) -> EngineFactory:
    """Of engines that train as the case says."""
    import torch

    from rlhf_service.learner.deepspeed import DeepSpeedEngines
    from rlhf_service.spec import LearnerSpec

    learner = LearnerSpec(
        zero_stage=case["zero"], precision=case["precision"], offload_optimizer=case["offload"]
    )
    return DeepSpeedEngines(learner, torch.device("cpu"))


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of every step."""
    import torch

    inputs = torch.randn(STEPS, ROWS, 16, generator=torch.Generator().manual_seed(1))
    return inputs, torch.randint(0, 4, (STEPS, ROWS), generator=torch.Generator().manual_seed(2))


def learn(
    case: dict[str, Any],
    network: torch.nn.Module,
    engine: Engine,
    steps: range,
    rank: int,
    ranks: int,
) -> list[float]:
    """This rank's part of some steps; their gradients' norms. Collective."""
    import torch

    dtype = torch.bfloat16 if case["precision"] == "bf16" else torch.float32
    inputs, targets = rows()
    micro, norms = int(case["micro"]), []
    for step in steps:
        mine = inputs[step].chunk(ranks)[rank].to(dtype)
        wanted = targets[step].chunk(ranks)[rank]
        for start in range(0, len(mine), micro):
            if case["adapter"]:  # a look at the reference must leave no trace
                with network.disable_adapter(), torch.no_grad():
                    engine.module(mine[start : start + micro])
            logits = engine.module(mine[start : start + micro]).float()
            part = wanted[start : start + micro]
            engine.backward(torch.nn.functional.cross_entropy(logits, part, reduction="sum") / ROWS)
        norms.append(engine.step(1e-2))
    return norms


def listed(state: dict[str, torch.Tensor] | None) -> dict[str, Any] | None:
    return None if state is None else {k: v.float().tolist() for k, v in state.items()}


DO = {"run": run, "leave": leave, "go_on": go_on}


def main(tasks: list[dict[str, Any]], rank: int, ranks: int, folder: Path) -> None:
    """Leaves `<name>.json` of each task in `folder`; checkpoints lie beside it, for later processes."""
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
    for task in tasks:
        checkpoint = folder.parent / f"checkpoint-{task['name']}"
        found = DO[task["do"]](task["case"], rank, ranks, checkpoint)
        if found is not None:
            (folder / f"{task['name']}.json").write_text(json.dumps(found))
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
