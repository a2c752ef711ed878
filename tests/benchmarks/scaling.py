"""docs/scaling.md: how a GRPO step's cost grows, worked out by the planner.

python -m tests.benchmarks.scaling > docs/scaling.md
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlhf_service.planning.catalogue import GPUS, NETWORK, gpu_profile
from rlhf_service.planning.device import DeviceProfile
from rlhf_service.planning.parts import Setting
from rlhf_service.planning.plan import plan_job
from rlhf_service.planning.records import JobPlan
from rlhf_service.spec import JobSpec

GPU = "H100"
SIZES: Mapping[str, tuple[int, int, int, int, int]] = {
    "1 B": (2048, 8192, 16, 32, 8),
    "3 B": (3072, 8192, 28, 24, 8),
    "8 B": (4096, 14336, 32, 32, 8),
    "34 B": (7168, 20480, 60, 56, 8),
    "70 B": (8192, 28672, 80, 64, 8),
}
"""Width, inner width, layers, heads, heads of keys: Llama-style networks of about that size."""
COUNTS = (1, 8, 64, 256, 1024)
GIB = 2**30


def folder(root: Path, size: str) -> Path:
    """A model folder, as far as planning reads one."""
    width, inner, layers, heads, kv = SIZES[size]
    path = root / size.replace(" ", "")
    path.mkdir(exist_ok=True)
    config = {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": size in ("1 B", "3 B"),
    }
    (path / "config.json").write_text(json.dumps(config))
    return path


def job(path: Path, count: int, stage: Mapping[str, Any], learner: Mapping[str, Any]) -> JobSpec:
    """A GRPO step over 1,024 prompts × 4, learners and rollout actors sharing the GPUs."""
    return JobSpec.model_validate(
        {
            "model": {"type": "folder", "path": str(path)},
            "stages": [
                {
                    "type": "grpo",
                    "prompts": {"path": "/data/prompts.jsonl"},
                    "reward": {"type": "exact_match"},
                    "prompts_per_step": 1024,
                    "max_prompt_length": 512,
                    "sampling": {"max_new_tokens": 1024},
                    "steps": 1,
                    "ppo": {"epochs": 1},
                    **stage,
                }
            ],
            "learner": {"precision": "bf16", "zero_stage": 3, "micro_batch_size": 1, **learner},
            "resources": {
                "learner": {"num_workers": count, "gpus_per_worker": 0.5},
                "rollout": {"num_actors": count, "gpus_per_actor": 0.5},
            },
        }
    )


def seconds(plan: JobPlan, phase: str) -> float:
    found = plan.stages[0].phases[phase]  # type: ignore[index]
    return found.value or 0.0


def row(spec: JobSpec, gpu: DeviceProfile) -> tuple[dict[str, float], JobPlan]:
    """Seconds by what they go to, and the plan."""
    plan = plan_job(spec, Setting(host=None, gpu=gpu))
    alone = gpu.model_copy(update={"link": 1e30, "network": None})
    arithmetic = seconds(plan_job(spec, Setting(host=None, gpu=alone)), "update")
    parts = {name: seconds(plan, name) for name in ("generate", "annotate", "publish")}
    parts["update"] = arithmetic
    parts["exchange"] = seconds(plan, "update") - arithmetic
    return parts, plan


def held(plan: JobPlan) -> tuple[float, float]:
    """GiB on a GPU of a learner and of a rollout actor."""
    found = {role.role: (role.bytes.value or 0) / GIB for role in plan.memory if role.on == "cuda"}
    return found["learner"], found["rollout"]


def line(name: str, spec: JobSpec, gpu: DeviceProfile) -> str:
    parts, plan = row(spec, gpu)
    learner, rollout = held(plan)
    whole = sum(parts.values())
    count = spec.resources.learner.num_workers
    most = max(parts, key=lambda part: parts[part])
    fits = learner + rollout <= 0.92 * gpu.memory / GIB
    return (
        f"| {name} | {learner:.0f} + {rollout:.0f} | {'yes' if fits else 'no'} "
        f"| {parts['generate']:.3g} | {parts['annotate']:.3g} | {parts['update']:.3g} "
        f"| {parts['exchange']:.3g} | {parts['publish']:.3g} | {whole:.3g} "
        f"| {whole * count / 3600:.2f} | {most} |"
    )


HEAD = (
    " | GiB a GPU, learner + rollout | fits | generate | annotate | update | exchange | publish "
    "| step, s | GPU-hours | most of it |\n|---|---|---|---|---|---|---|---|---|---|---|"
)

VARIANTS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("as above", {}, {}),
    ("learner.zero_stage: 1", {}, {"zero_stage": 1}),
    ("learner.zero_stage: 2", {}, {"zero_stage": 2}),
    ("learner.micro_batch_size: 4", {}, {"micro_batch_size": 4}),
    ("learner.micro_batch_size: 16", {}, {"micro_batch_size": 16}),
    ("learner.offload_optimizer: true", {}, {"offload_optimizer": True}),
    ("adapter: {rank: 16}, zero_stage: 0", {"adapter": {"rank": 16}}, {"zero_stage": 0}),
    ("sampling.max_new_tokens: 4096", {"sampling": {"max_new_tokens": 4096}}, {}),
    ("ppo.epochs: 4", {"ppo": {"epochs": 4}}, {}),
    ("prompts_per_step: 4096", {"prompts_per_step": 4096}, {}),
)


def document() -> Iterator[str]:
    gpu = gpu_profile(GPU)
    own = GPUS[GPU]
    yield "# How cost grows\n"
    yield (
        "**Computed, not measured.** Every figure here follows from the planner's arithmetic\n"
        f"([planner.md](planner.md)) with the public figures of the {GPU} ({own.memory:g} GB, "
        f"{own.bandwidth:g} GB/s, {own.bf16:g} TFLOP/s dense bf16,\n{own.link:g} GB/s to GPUs of its "
        f"machine), {NETWORK / 1e9:g} GB/s to other machines, and the efficiencies in\n"
        "`rlhf_service/planning/catalogue.py`. Jobs have run on one H100 at most. Written by\n"
        "`python -m tests.benchmarks.scaling > docs/scaling.md`.\n"
    )
    yield (
        "One GRPO step: 1,024 prompts × 4 responses, 512 + 1,024 tokens each, one epoch, bf16, ZeRO-3,\n"
        "one row a microbatch; each GPU shared by a learner rank and a rollout actor. *Exchange* is\n"
        "what the ranks send each other in the update: ZeRO-3 gathers every weight twice a microbatch.\n"
        "What is gathered to *annotate*, by policy and reference, is part of that column.\n"
    )
    with tempfile.TemporaryDirectory() as root:
        for size in SIZES:
            path = folder(Path(root), size)
            yield f"## {size} parameters\n"
            yield f"| GPUs{HEAD}"
            for count in COUNTS:
                yield line(f"{count:,}", job(path, count, {}, {}), gpu)
            yield ""
        yield "## What each setting does: 8 B parameters on 64 GPUs\n"
        yield f"| setting{HEAD}"
        path = folder(Path(root), "8 B")
        for name, stage, learner in VARIANTS:
            yield line(f"`{name}`" if ":" in name else name, job(path, 64, stage, learner), gpu)
    yield READING


READING = """
## Reading it

- **On few GPUs** generation takes most: a decoding step reads all weights for at most 64 responses. It
  has a floor that no number of actors moves: new tokens × (weights ÷ bandwidth + launching kernels).
- **From one machine to several** the bottleneck moves to the update's exchange: ZeRO-3 gathers the
  whole network for every microbatch, now between machines. It falls only as each rank has fewer
  microbatches: larger ones, ZeRO 1 or 2 where the weights fit, or an adapter cut it.
- **At 1,024 GPUs** arithmetic is next to nothing. What stays is generation's floor and, for the large
  networks, publishing: the whole policy goes through rank 0 and the object store whatever the
  number of GPUs. GPU-hours a step rise eight- to fifteenfold. An adapter publishes a hundredth.
- **8 B** fit a learner and an actor together on 80 GB from 64 GPUs on. On eight the first rank, which
  gathers the policy to publish it, has too large a part of weights, master weights and Adam besides;
  actors need GPUs of their own there.
- **34 B and 70 B** do not fit at all: an actor holds the whole policy on one GPU (there is no tensor
  parallelism), and so does the first rank when it publishes.
"""


def main() -> int:
    for text in document():
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
