"""This project's rollout engine against transformers' `generate`: the same network and prompts.

    python -m tests.benchmarks.generation [--workload fixed|realistic] [--rounds 5]

Both take turns. Prints one JSON line: response tokens a second of both, their ratio, and what share of
the engine's time the machine's limits alone would take: the arithmetic of every token at the speed
of matrix products, or reading weights once a step and every key and value once a token at the
speed of memory, whichever is longer. Seconds are CPU seconds, for one thread by default.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from rlhf_service.models.load import load_causal_lm
from rlhf_service.models.work import work_of
from rlhf_service.records import Prompt
from rlhf_service.rollout.build import serve_folder
from rlhf_service.spec import SamplingSpec
from tests.benchmarks.peers.compare import best_of, matmul_flops
from tests.benchmarks.peers.workload import Prepared
from tests.benchmarks.ppo_vs_trl import BUILD, workload


@dataclass(frozen=True)
class Run:
    """One side's answers to all prompts."""

    seconds: float
    lengths: list[int]

    @property
    def speed(self) -> float:
        return sum(self.lengths) / self.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", choices=BUILD, default="realistic")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the workload")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as place:
        prepared = Prepared((args.keep or Path(place)) / args.workload)
        if not prepared.model.exists():
            prepared = BUILD[args.workload](workload(args.workload, args.threads), prepared.folder)
        told = measured(prepared, args.rounds, args.threads)
        print(json.dumps({"benchmark": "generation", "workload": args.workload, **told}))


def measured(prepared: Prepared, rounds: int, threads: int) -> dict[str, Any]:
    settings = prepared.workload()
    prompts = prepared.prompts()[: settings.prompts_per_step]
    ours, theirs = [], []
    engine, _ = serve_folder(prepared.model)
    model = load_causal_lm(prepared.model, torch.float32).eval()
    for seed in range(rounds + 1):
        asked = [
            Prompt(position=i, sample=0, row=i, text="", token_ids=tuple(ids))
            for i, ids in enumerate(prompts)
        ]
        sampling = SamplingSpec(max_new_tokens=settings.limit)
        started = time.process_time()
        found = engine.generate(asked, sampling, version=1, seed=seed)
        ours.append(Run(time.process_time() - started, [len(r.token_ids) for r in found]))
        theirs.append(generate(model, prompts, settings.limit, seed))
    ours, theirs = ours[1:], theirs[1:]
    ratios = [mine.speed / their.speed for mine, their in zip(ours, theirs, strict=True)]
    shares = [limit(model, prompts, run.lengths, threads) / run.seconds for run in ours]
    return {
        "prompts": len(prompts),
        "response_tokens": statistics.median(sum(run.lengths) for run in ours),
        "ours_tokens_per_second": round(statistics.median(run.speed for run in ours)),
        "generate_tokens_per_second": round(statistics.median(run.speed for run in theirs)),
        "ratio": round(statistics.median(ratios), 2),
        "share_of_limit": round(statistics.median(shares), 3),
    }


def generate(model: PreTrainedModel, prompts: Sequence[Sequence[int]], most: int, seed: int) -> Run:
    """transformers' own, on prompts padded on the left. Its last token of a response is its end."""
    width = max(map(len, prompts))
    ids, mask = (torch.zeros(len(prompts), width, dtype=torch.long) for _ in range(2))
    for row, tokens in enumerate(prompts):
        ids[row, width - len(tokens) :] = torch.tensor(tokens)
        mask[row, width - len(tokens) :] = 1
    torch.manual_seed(seed)
    started = time.process_time()
    found = model.generate(
        ids,
        attention_mask=mask,
        do_sample=True,
        top_k=0,
        top_p=1.0,
        max_new_tokens=most,
        pad_token_id=0,
    )[:, width:]
    seconds = time.process_time() - started
    ended = found == model.generation_config.eos_token_id
    after = ended.long().cumsum(dim=1) - ended.long()
    return Run(seconds, (after == 0).sum(dim=1).tolist())


def limit(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], lengths: Sequence[int], threads: int
) -> float:
    """Seconds that the machine needs at least."""
    work = work_of(model)
    tokens = sum(map(len, prompts)) + sum(lengths)
    arithmetic = work.forward(tokens, sum(lengths)) / matmul_flops(threads)
    config = model.config
    of_a_token = 2 * 4 * config.num_hidden_layers * config.hidden_size
    kept = sum(
        sum(range(len(prompt), len(prompt) + length))
        for prompt, length in zip(prompts, lengths, strict=True)
    )
    weights = 4 * (work.trunk + work.head) * max(lengths)
    return max(arithmetic, (weights + kept * of_a_token) / bandwidth())


def bandwidth() -> float:
    """Bytes a second that are read from memory: the best of several sums of 256 MB."""
    values = torch.ones(2**26)
    return values.numel() * 4 / best_of(5, values.sum)


if __name__ == "__main__":
    main()
