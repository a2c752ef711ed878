"""One learner rank, or one rollout actor, of tests/benchmarks/planner_error.py: the real stage code in a
process of its own, which leaves its peak memory and the seconds of each step by phase."""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

IMPORTS = ("ray.train.torch", "deepspeed", "transformers", "peft")
"""What a learner rank has loaded when it begins."""


def preload() -> None:
    """Import once for all: the processes measured are forks of this one."""
    os.environ.update({"DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})
    for name in IMPORTS:
        importlib.import_module(name)


def memory(field: str) -> int:
    """Bytes, from this process's status: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


class Canned:
    """Rollouts of the greatest length at once: a learner's memory and time without a sampler's."""

    def __init__(self, vocab: int) -> None:
        self.vocab = vocab

    def generate(self, prompts, sampling, *, version, seed):  # type: ignore[no-untyped-def]
        from rlhf_service.records import FinishReason, Rollout

        draw, length = random.Random(seed + version), sampling.max_new_tokens
        return [
            Rollout(
                prompt=prompt,
                token_ids=tuple(draw.randrange(5, self.vocab) for _ in range(length)),
                logprobs=(-1.0,) * length,
                text="w",
                finish_reason=FinishReason.LENGTH,
                policy_version=version,
            )
            for prompt in prompts
        ]


class Newest:
    """A weight channel that holds one copy of the newest version, as the object store does."""

    def publish(self, snapshot: Any) -> None:
        self.held = None
        self.held = {name: tensor.clone() for name, tensor in snapshot.tensors.items()}


class Pools:
    """What a learner rank asks of others, answered at once."""

    def __init__(self, vocab: int) -> None:
        self.vocab = vocab

    def weights(self, max_staleness: int) -> Any:
        return Newest()

    def rollouts(self, model: Path, weights: Any) -> Canned:
        return Canned(self.vocab)

    def rewards(self, reward: Any, folders: Mapping[str, Path]) -> Any:
        from rlhf_service.testing import FunctionReward

        draw = random.Random(0)
        return FunctionReward(lambda rollout: draw.random())


class Steps:
    """EventSink that keeps each step's seconds, and the greatest memory until each event."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.peaks: list[tuple[str, int]] = []
        self._worked = time.process_time()

    def emit(self, event: Any) -> None:
        self.mark(event.type)
        if event.type == "step":
            seconds = event.report.seconds
            took = {"total": seconds} if isinstance(seconds, float) else dict(seconds)
            self.steps.append(took | {"work": time.process_time() - self._worked})
        if event.type in ("stage_started", "step", "checkpoint"):
            self._worked = time.process_time()

    def mark(self, what: str) -> None:
        self.peaks.append((what, memory("VmHWM")))
        Path("/proc/self/clear_refs").write_text("5")


def learner(settings: Mapping[str, Any], rank: int, root: Path) -> dict[str, Any]:
    """Run the job's stages on this rank."""
    import torch
    import torch.distributed as dist

    from rlhf_service.learner.checkpoint import CheckpointFolder
    from rlhf_service.learner.deepspeed import DeepSpeedEngines
    from rlhf_service.learner.group import TorchGroup
    from rlhf_service.spec import JobSpec
    from rlhf_service.stages.context import StageContext
    from rlhf_service.stages.pipeline import run_pipeline
    from rlhf_service.storage import JobFolder

    spec = JobSpec.model_validate(settings["spec"])
    torch.set_num_threads(spec.resources.learner.num_threads)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{root}/rendezvous",
        rank=rank,
        world_size=spec.resources.learner.num_workers,
        timeout=timedelta(seconds=120),
    )
    folder, device = JobFolder(root / "job"), torch.device("cpu")
    folder.root.mkdir(exist_ok=True)
    group, sink = TorchGroup(device), Steps()
    began = memory("VmRSS")
    context = StageContext(
        spec=spec,
        folder=folder,
        group=group,
        device=device,
        engines=DeepSpeedEngines(spec.learner, device),
        pools=Pools(settings["vocab"]),
        checkpoints=CheckpointFolder(folder.checkpoints, 1, group),
        sink=sink,
        reported={},
        progress=lambda stage, step: None,
    )
    run_pipeline(context)
    sink.mark("end")
    return {"began": began, "steps": sink.steps, "peaks": sink.peaks}


def rollout(settings: Mapping[str, Any], rank: int, root: Path) -> dict[str, Any]:
    """Load a policy, then answer one step's prompts a few times."""
    import torch

    from rlhf_service.models.digest import digests
    from rlhf_service.models.heap import give_back_freed
    from rlhf_service.models.load import load_causal_lm
    from rlhf_service.models.precision import dtype_of
    from rlhf_service.ports import WeightSnapshot
    from rlhf_service.records import Prompt
    from rlhf_service.rollout.build import build_engine
    from rlhf_service.spec import JobSpec

    spec = JobSpec.model_validate(settings["spec"])
    torch.set_num_threads(spec.resources.rollout.num_threads)
    began = memory("VmRSS")
    stage = spec.stages[-1]
    engine = build_engine(Path(settings["folder"]), spec.learner.precision, "cpu")
    source = load_causal_lm(Path(settings["folder"]), dtype_of(spec.learner.precision))
    state = dict(source.state_dict())
    engine.load_weights(WeightSnapshot(1, digests(state), state))
    engine._sampler._eos = torch.tensor([], dtype=torch.long)  # every response is as long as can be
    del source, state
    gc.collect()
    give_back_freed()
    # A job's weights lie in the object store, not in this process: its peak begins here.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    draw = random.Random(0)
    prompts = [
        Prompt(
            position=number,
            sample=0,
            row=0,
            text="w",
            token_ids=tuple(
                draw.randrange(5, settings["vocab"]) for _ in range(stage.max_prompt_length)
            ),
        )
        for number in range(stage.prompts_per_step * stage.samples_per_prompt)
    ]
    steps = []
    for number in range(stage.steps):
        started, worked = time.perf_counter(), time.process_time()
        engine.generate(prompts, stage.sampling, version=1, seed=number)
        took = time.perf_counter() - started
        steps.append({"generate": took, "work": time.process_time() - worked})
    return {"began": began, "steps": steps}


def work(settings: Mapping[str, Any], rank: int, root: Path) -> None:
    """What one forked process does."""
    os.environ["LOCAL_RANK"] = str(rank)
    with (root / f"said-{rank}").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    found = {"learner": learner, "rollout": rollout}[settings["role"]](settings, rank, root)
    found.setdefault("peaks", [("end", memory("VmHWM"))])
    out = {**found, "peak": max(peak for _, peak in found["peaks"])}
    (root / f"out-{rank}.json").write_text(json.dumps(out))
