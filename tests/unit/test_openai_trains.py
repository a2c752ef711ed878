"""Requests in OpenAI's words, trained for real in one process: each method, one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from api.openai.mapping import to_spec
from api.openai.request import CreateJob
from api.openai.rows import Conversion
from api.openai.transcript import transcript_of
from api.service.base_models import context_of
from rlhf_service.events import EvaluationCompleted, StepCompleted
from rlhf_service.spec import FolderModel, ScratchModel
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.pipeline import run_pipeline

torch.set_num_threads(1)
SMALL = ScratchModel(hidden_size=16, num_layers=1, num_heads=2, context_length=64, vocab_size=300)
SUMS = [(f"{a}+{b}=", str(a + b)) for a in range(3) for b in range(3)]


def ask(prompt: str) -> dict[str, str]:
    return {"role": "user", "content": prompt}


def say(answer: str) -> dict[str, str]:
    return {"role": "assistant", "content": answer}


def trained(
    tmp_path: Path,
    make_context: Callable[..., StageContext],
    model: FolderModel | ScratchModel,
    rows: list[Any],
    method: dict[str, Any],
    stage: dict[str, Any],
) -> tuple[Path, list[Any]]:
    """The folder of the model that came out, and what was told on the way."""
    name = method["type"]
    source = tmp_path / f"{name}.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"model": "m", "training_file": "f", "method": method, "rlhf": {"stage": stage}}
    request = CreateJob.model_validate(given)
    folder = Path(model.path) if isinstance(model, FolderModel) else None
    data = Conversion(name, transcript_of(folder)).convert(source, "training_file")
    held_out = data if name == "reinforcement" else None
    room = context_of(folder) if folder is not None else None
    spec = to_spec(request, model, data, held_out, room).spec
    context = make_context(spec, tmp_path / name)
    run_pipeline(context)
    return context.folder.model, context.sink.events  # type: ignore[attr-defined]


def test_supervised_then_dpo_then_reinforcement(
    tmp_path: Path, make_context: Callable[..., StageContext]
) -> None:
    rows: list[Any] = [{"messages": [ask(q), say(a)]} for q, a in SUMS]
    section: dict[str, Any] = {"hyperparameters": {"n_epochs": 3, "batch_size": 3}}
    method = {"type": "supervised", "supervised": section}
    folder, events = trained(
        tmp_path, make_context, SMALL, rows, method, {"optimizer": {"learning_rate": 1e-2}}
    )
    losses = [e.report.loss for e in events if isinstance(e, StepCompleted)]
    assert len(losses) == 9 and losses[-1] < losses[0]

    pairs = [
        {
            "input": {"messages": [ask(q)]},
            "preferred_output": [say(a)],
            "non_preferred_output": [say("x")],
        }
        for q, a in SUMS
    ]
    section = {"hyperparameters": {"n_epochs": 2, "batch_size": 3, "beta": 0.5}}
    method = {"type": "dpo", "dpo": section}
    tuned, events = trained(
        tmp_path,
        make_context,
        FolderModel(path=str(folder)),
        pairs,
        method,
        {"optimizer": {"learning_rate": 1e-3}},
    )
    margins = [e.report.margin for e in events if isinstance(e, StepCompleted)]
    assert len(margins) == 6 and margins[-1] > margins[0]

    prompts = [{"messages": [ask(q)], "answer": a} for q, a in SUMS]
    grader = {
        "type": "text_similarity",
        "name": "near",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "evaluation_metric": "fuzzy_match",
    }
    hyperparameters = {"batch_size": 3, "n_epochs": 1, "eval_interval": 2, "eval_samples": 2}
    method = {
        "type": "reinforcement",
        "reinforcement": {"grader": grader, "hyperparameters": hyperparameters},
    }
    stage = {"sampling": {"max_new_tokens": 4}}
    final, events = trained(
        tmp_path, make_context, FolderModel(path=str(tuned)), prompts, method, stage
    )
    steps = [e for e in events if isinstance(e, StepCompleted)]
    # 3 prompts of 4 responses each, as GRPO has by default.
    assert [(e.step, e.report.responses) for e in steps] == [(1, 12), (2, 12), (3, 12)]
    evaluations = [e for e in events if isinstance(e, EvaluationCompleted)]
    assert {e.step for e in evaluations} >= {0, 2, 3} and evaluations[0].n == 18
    assert AutoModelForCausalLM.from_pretrained(final).num_parameters() > 0
