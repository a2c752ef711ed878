"""Small real parts shared by tests: a tiny corpus, a job, its stage context."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from rlhf_service.learner.checkpoint import CheckpointFolder
from rlhf_service.learner.group import SoloGroup
from rlhf_service.ports import RewardFunction
from rlhf_service.spec import JobSpec
from rlhf_service.stages.context import StageContext, StopRequested
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.storage import JobFolder
from rlhf_service.testing import ListSink, LocalPools, PlainEngines

WORDS = (
    "a good film",
    "a bad film",
    "good and warm",
    "dull and bad",
    "warm good fun",
    "cold dull mess",
)


def write_rows(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def write_corpus(folder: Path) -> dict[str, str]:
    """Paths of tiny text, completion, preference and prompt files."""
    good = [w for w in WORDS if "good" in w]
    bad = [w for w in WORDS if "good" not in w]
    texts = [{"text": w} for w in WORDS for _ in range(8)]
    pairs = [
        {"prompt": "", "chosen": g, "rejected": b} for g in good for b in bad for _ in range(4)
    ]
    completions = [
        {"prompt": w.split()[0], "completion": w[len(w.split()[0]) :]} for w in WORDS * 6
    ]
    prompts = [{"prompt": w.split()[0]} for w in WORDS]
    return {
        "text": write_rows(folder / "text.jsonl", texts),
        "pairs": write_rows(folder / "pairs.jsonl", pairs),
        "completions": write_rows(folder / "completions.jsonl", completions),
        "prompts": write_rows(folder / "prompts.jsonl", prompts),
    }


def pipeline_of(corpus: dict[str, str]) -> JobSpec:
    """SFT → reward model → PPO on a network of a few thousand weights."""
    return JobSpec.model_validate(
        {
            "name": "tiny",
            "model": {
                "type": "scratch",
                "hidden_size": 16,
                "num_layers": 1,
                "num_heads": 2,
                "context_length": 64,
                "vocab_size": 300,
            },
            "stages": [
                {
                    "type": "sft",
                    "data": {"path": corpus["completions"]},
                    "steps": 4,
                    "batch_size": 8,
                    "max_length": 32,
                    "optimizer": {"learning_rate": 1e-2},
                },
                {
                    "type": "reward",
                    "data": {"path": corpus["pairs"]},
                    "steps": 4,
                    "batch_size": 4,
                    "max_length": 32,
                    "optimizer": {"learning_rate": 1e-2},
                },
                {
                    "type": "ppo",
                    "prompts": {"path": corpus["prompts"]},
                    "reward": {
                        "type": "reward_model",
                        "model": {"type": "stage", "stage": "reward"},
                    },
                    "critic": {"type": "stage", "stage": "reward"},
                    "steps": 3,
                    "prompts_per_step": 4,
                    "sampling": {"max_new_tokens": 8},
                    "optimizer": {"learning_rate": 1e-3},
                    "critic_optimizer": {"learning_rate": 1e-3},
                    "evaluation": {"prompts": {"path": corpus["prompts"]}, "num_prompts": 6},
                    "max_prompt_length": 16,
                },
            ],
            "checkpoint": {"every": 2},
        }
    )


def apart(some: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> float:
    """Euclidean distance of two networks over all weights of the first."""
    return sum(float((some[name] - others[name]).square().sum()) for name in some) ** 0.5


def stage_context(
    spec: JobSpec, root: Path, reward: RewardFunction | None = None, **changes: object
) -> StageContext:
    """A StageContext in this process: one rank, plain torch, the same stages."""
    folder = JobFolder(root)
    root.mkdir(parents=True, exist_ok=True)
    parts: dict[str, object] = {
        "spec": spec,
        "folder": folder,
        "group": SoloGroup(),
        "device": torch.device("cpu"),
        "engines": PlainEngines(torch.device("cpu")),
        "pools": LocalPools(reward),
        "checkpoints": CheckpointFolder(folder.checkpoints, spec.checkpoint.keep, SoloGroup()),
        "sink": ListSink(),
        "reported": {},
        "progress": lambda stage, step: None,
    }
    return StageContext(**(parts | changes))  # type: ignore[arg-type]


def stopped_and_resumed(
    make: Callable[..., StageContext],
    spec: JobSpec,
    root: Path,
    after: tuple[str, int],
    **parts: object,
) -> tuple[StageContext, StageContext]:
    """(halted, resumed): a pipeline asked to stop after (stage, step), then run to its end."""

    def stop(stage: str, step: int) -> None:
        if (stage, step) == after:
            halted.folder.stop_flag.touch()

    halted = make(spec, root, progress=stop, **parts)
    with pytest.raises(StopRequested):
        run_pipeline(halted)
    halted.folder.stop_flag.unlink()
    resumed = make(spec, root, **parts)
    run_pipeline(resumed)
    return halted, resumed


def write_encoder(folder: Path, words: Sequence[str], max_length: int, **config: object) -> None:
    """A BERT-style encoder as its authors publish one: a network without a head, and its words."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    shape = {"num_hidden_layers": 1, "max_position_embeddings": max_length, **sizes, **config}
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(folder)
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)
