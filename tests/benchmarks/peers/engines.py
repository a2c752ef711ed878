"""The three engines on one workload, in turns. Runs in vLLM's environment."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from rlhf_service.models.digest import digests
from rlhf_service.models.load import load_causal_lm
from rlhf_service.models.precision import dtype_of
from rlhf_service.ports import RolloutEngine, WeightSnapshot
from rlhf_service.records import Prompt
from rlhf_service.rollout.build import build_served
from rlhf_service.spec import SamplingSpec, TransformersEngineSpec, VllmEngineSpec
from tests.benchmarks.peers.workload import Prepared

Lengths = list[int]
"""Tokens of each response."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    prepared = Prepared(args.folder)
    settings, prompts = prepared.workload(), prepared.prompts()
    prompts = prompts[: settings.prompts_per_step]
    torch.set_num_threads(settings.threads)
    network = load_causal_lm(prepared.model, dtype_of(args.precision)).eval()
    started = time.perf_counter()
    most = max(map(len, prompts)) + settings.limit
    vllm = VllmEngineSpec(max_length=most, max_sequences=len(prompts), compile=args.compile)
    theirs = served(vllm, prepared.model, args.precision, settings.threads, network)
    start_up = time.perf_counter() - started
    own = TransformersEngineSpec()
    ours = served(own, prepared.model, args.precision, settings.threads, network)
    sides: dict[str, Callable[[int], Lengths]] = {
        "vllm": lambda seed: drawn(theirs, prompts, settings.limit, seed),
        "ours": lambda seed: drawn(ours, prompts, settings.limit, seed),
        "generate": lambda seed: generated(network, prompts, settings.limit, seed),
    }
    runs: dict[str, list[tuple[float, float, Lengths]]] = {name: [] for name in sides}
    for seed in range(args.rounds + 1):
        for name, draw in sides.items():
            runs[name].append(timed(draw, seed))
    told: dict[str, Any] = {
        "precision": args.precision,
        "threads": settings.threads,
        "prompts": len(prompts),
        "vllm_compiled": args.compile,
        "vllm_start_seconds": round(start_up, 1),
    }
    for name, found in runs.items():
        kept = found[1:]  # the first is warm-up
        told[name] = {
            "response_tokens": round(statistics.median(sum(lengths) for _, _, lengths in kept)),
            "longest": max(max(lengths) for _, _, lengths in kept),
            "tokens_per_cpu_second": median_speed((sum(n) / cpu for cpu, _, n in kept)),
            "tokens_per_second": median_speed((sum(n) / clock for _, clock, n in kept)),
        }
    print(json.dumps(told))


def median_speed(speeds: Any) -> float:
    return round(statistics.median(speeds), 1)


def served(
    engine: Any, model: Path, precision: Any, threads: int, network: PreTrainedModel
) -> RolloutEngine:
    """An engine of that kind with the network's weights as version 1."""
    built = build_served(engine, model, precision, "cpu", threads)
    state = network.state_dict()
    built.load_weights(WeightSnapshot(1, digests(state), state))
    return built  # type: ignore[no-any-return]


def timed(draw: Callable[[int], Lengths], seed: int) -> tuple[float, float, Lengths]:
    """CPU seconds, seconds by the clock, and what was drawn."""
    cpu, clock = time.process_time(), time.perf_counter()
    lengths = draw(seed)
    return time.process_time() - cpu, time.perf_counter() - clock, lengths


def drawn(
    engine: RolloutEngine, prompts: Sequence[Sequence[int]], limit: int, seed: int
) -> Lengths:
    asked = [
        Prompt(position=i, sample=0, row=i, text="", token_ids=tuple(ids))
        for i, ids in enumerate(prompts)
    ]
    found = engine.generate(asked, SamplingSpec(max_new_tokens=limit), version=1, seed=seed)
    return [len(rollout.token_ids) for rollout in found]


def generated(
    network: PreTrainedModel, prompts: Sequence[Sequence[int]], limit: int, seed: int
) -> Lengths:
    """transformers' own, on all prompts together, padded on the left."""
    torch.manual_seed(seed)
    width = max(map(len, prompts))
    ids, mask = (torch.zeros(len(prompts), width, dtype=torch.long) for _ in range(2))
    for row, tokens in enumerate(prompts):
        ids[row, width - len(tokens) :] = torch.tensor(tokens)
        mask[row, width - len(tokens) :] = 1
    found = network.generate(
        ids,
        attention_mask=mask,
        do_sample=True,
        top_k=0,
        top_p=1.0,
        max_new_tokens=limit,
        pad_token_id=0,
    )[:, width:]
    ended = torch.isin(found, torch.tensor(network.generation_config.eos_token_id))
    after = ended.long().cumsum(dim=1) - ended.long()
    return (after == 0).sum(dim=1).tolist()


if __name__ == "__main__":
    main()
