"""Jobs whose every length is known: model folders of exact vocabularies, rows of exact lengths."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.benchmarks.planner_worker import work


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One job to plan and to run."""

    kind: str = "sft"
    """sft, reward, dpo, ppo, grpo; or generate, the rollout actor's part of a ppo job."""
    architecture: str = "llama"
    width: int = 256
    layers: int = 4
    vocab: int = 4096
    batch: int = 8
    micro: int = 8
    length: int = 128
    """Tokens of a row; of a response, after as many of prompt, for ppo and generate."""
    zero: int = 0
    ranks: int = 1
    lora: bool = False
    precision: str = "fp32"
    steps: int = 4

    @property
    def heads(self) -> int:
        return max(1, self.width // 64)

    @property
    def name(self) -> str:
        parts = [self.kind, self.architecture, f"{self.width}×{self.layers}", f"V{self.vocab}"]
        parts += [f"b{self.batch}/{self.micro}×{self.length}", f"z{self.zero}×{self.ranks}"]
        return " ".join([*parts, self.precision] + (["lora"] if self.lora else []))


def write_model(case: Case, folder: Path) -> None:
    """The network that `case` starts from, with a tokenizer of one token a word."""
    if (folder / "config.json").exists():
        return
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    from rlhf_service.models.build import build_scratch
    from rlhf_service.spec.model import ScratchModel

    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(case.vocab - 4))]
    raw = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    spec = ScratchModel(
        architecture=case.architecture,
        hidden_size=case.width,
        num_layers=case.layers,
        num_heads=case.heads,
        context_length=1024,
        vocab_size=case.vocab,
    )
    network = build_scratch(spec, tokenizer, 0)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def spec_of(case: Case, root: Path) -> dict[str, Any]:
    """The job; its data is written into `root`."""
    draw = random.Random(0)

    def words(count: int) -> str:
        return " ".join(f"w{draw.randrange(case.vocab - 4)}" for _ in range(count))

    rows: list[dict[str, str]] = []
    for number in range(max(16, case.batch)):
        length = case.length - (4 if number % 5 == 0 else 0)  # some padding, as real rows have
        if case.kind in ("reward", "dpo"):
            both = {"chosen": words(length - 2), "rejected": words(length - 2)}
            rows.append({"prompt": words(1), **both})
        elif case.kind == "sft":
            rows.append({"prompt": words(1), "completion": words(length - 2)})
        else:
            rows.append({"prompt": words(length)})
    data = root / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = root.parent / model_name(case)
    # In a fork too: arithmetic here would start threads, which forks do not inherit.
    fork(write_model, case, folder).join()
    stage: dict[str, Any] = {"type": case.kind, "steps": case.steps}
    if case.kind in ("sft", "reward", "dpo"):
        stage |= {"data": {"path": str(data)}, "validation": {"path": str(data)}}
        stage |= {"batch_size": case.batch, "max_length": case.length}
    else:
        stage |= {
            "type": "ppo" if case.kind == "generate" else case.kind,
            "prompts": {"path": str(data)},
            "reward": {"type": "length", "target": 8},
            "prompts_per_step": case.batch // (4 if case.kind == "grpo" else 1),
            "max_prompt_length": case.length,
            "sampling": {"max_new_tokens": case.length},
            "ppo": {"epochs": 1},
            "preflight": {"enabled": False},
            "gate": {"max_logprob_difference": 1e9},
        }
    if case.lora:
        stage["adapter"] = {"rank": 16}
    return {
        "model": {"type": "folder", "path": str(folder)},
        "stages": [stage],
        "learner": {
            "zero_stage": case.zero,
            "precision": case.precision,
            "micro_batch_size": case.micro,
        },
        "resources": {"learner": {"num_workers": case.ranks}},
        "checkpoint": {"every": 1000},
        "trackers": [],
    }


def model_name(case: Case) -> str:
    return f"{case.architecture}-{case.width}-{case.layers}-{case.vocab}"


def run(case: Case, root: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(spec, what each rank measured)."""
    root.mkdir(parents=True)
    spec = spec_of(case, root)
    role = "rollout" if case.kind == "generate" else "learner"
    settings = {"role": role, "spec": spec, "vocab": case.vocab}
    settings["folder"] = spec["model"]["path"]
    processes = [fork(work, settings, rank, root) for rank in range(case.ranks)]
    for process in processes:
        process.join(timeout=300)
    outs = [root / f"out-{rank}.json" for rank in range(case.ranks)]
    for rank, out in enumerate(outs):
        if not out.exists():
            raise RuntimeError(f"{case.name}: {(root / f'said-{rank}').read_text()[-3000:]}")
    return spec, [json.loads(out.read_text()) for out in outs]


def fork(target: Callable[..., object], *arguments: object) -> BaseProcess:
    """A started process that has everything imported already."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


def fastest(found: Mapping[str, Any], phase: str) -> float:
    """Seconds of the fastest step behind the first, which also warms up."""
    steps = found["steps"][1:] or found["steps"]
    return float(min(step[phase] for step in steps))
