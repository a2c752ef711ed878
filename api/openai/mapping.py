"""A fine-tuning request → the JobSpec that does it. Pure; what cannot be done is refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api.openai.graders import to_reward
from api.openai.request import CreateJob, Dpo, Method, Reinforcement, Supervised
from api.suggest import suggestion
from rlhf_service.errors import SpecError
from rlhf_service.explain import explain
from rlhf_service.spec import DpoStage, FolderModel, JobSpec, SamplingSpec, ScratchModel, SftStage
from rlhf_service.spec.methods import DEFAULTS
from rlhf_service.spec.resources import LearnerResources
from rlhf_service.spec.stages import PpoStage

BATCH = 32
"""Rows of an optimiser step when `batch_size` is `auto` and the file has as many."""
EPOCHS = {"supervised": 3, "dpo": 1, "reinforcement": 1}
"""Passes when `n_epochs` is `auto`."""
EVALUATED = 64
"""Most prompts of an evaluation."""
OURS = {"data": "training_file", "prompts": "training_file", "validation": "validation_file"}
"""Settings of a stage that the request says elsewhere."""
TYPES = {"supervised": ("sft",), "dpo": ("dpo",), "reinforcement": tuple(DEFAULTS)}
"""Method → the stages that can do it, the default first."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file of rows in this service's own columns."""

    path: str
    rows: int


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a request comes to."""

    spec: JobSpec
    method: dict[str, Any]
    """As asked for, every `auto` decided."""


def to_spec(
    request: CreateJob,
    model: FolderModel | ScratchModel,
    training: Dataset,
    validation: Dataset | None,
    context: int | None = None,
) -> Mapped:
    """Raises SpecError whose field is the request's parameter. `context`: tokens that the base model
    can hold, where that is known; lengths that the request leaves to us stay within it.
    """
    method = request.how
    kind = stage_type(request, method)
    ranks = num_shares(request.rlhf.resources)
    given = getattr(method, method.type)
    usual = Dpo() if method.type == "dpo" else Supervised()
    asked = given.hyperparameters if given is not None else usual
    decided = decide(asked, method.type, kind, training.rows, ranks)
    stage = stage_of(kind, decided, training, validation)
    if isinstance(model, ScratchModel):
        context = model.context_length
    if context is not None:
        stage |= lengths(method.type, context)
    if method.reinforcement is not None:
        at = "method.reinforcement"
        stage["reward"] = to_reward(method.reinforcement.grader, f"{at}.grader")
        evaluate(stage, method.reinforcement.hyperparameters, validation, at)
    for name in request.rlhf.stage:
        if name in OURS or name == "reward":
            elsewhere = OURS.get(name, "method.reinforcement.grader")
            raise SpecError(f"is said by {elsewhere}; leave it out", f"rlhf.stage.{name}")
    spec = {
        "name": request.suffix or "fine-tune",
        "labels": dict(request.metadata or {}),
        "seed": request.seed or 0,
        "model": model,
        "stages": [merged(stage, request.rlhf.stage)],
        **{
            name: section
            for name in ("learner", "resources", "checkpoint", "recovery")
            if (section := getattr(request.rlhf, name))
        },
    }
    return Mapped(validated(spec), {"type": method.type, method.type: told(method, decided)})


def stage_type(request: CreateJob, method: Method) -> str:
    """The type of the one stage."""
    allowed = ("grpo", *TYPES["reinforcement"]) if method.type == "reinforcement" else ()
    allowed = allowed or TYPES[method.type]
    kind = request.rlhf.stage.get("type", allowed[0])
    if kind not in allowed:
        wanted = ", ".join(dict.fromkeys(allowed))
        raise SpecError(f"{kind!r} does not do {method.type!r}; use {wanted}", "rlhf.stage.type")
    return str(kind)


def num_shares(resources: Mapping[str, Any]) -> int:
    """What batches have to be a multiple of; 1 when ranks are not said, or said badly, which is
    refused later."""
    try:
        return LearnerResources.model_validate(resources.get("learner", {})).shares
    except ValidationError:
        return 1


def decide(asked: Supervised, method: str, kind: str, rows: int, ranks: int) -> dict[str, Any]:
    """Every hyperparameter as a number. Batches that are ours to choose divide over the ranks."""
    decided: dict[str, Any] = {
        "batch_size": max(ranks, min(BATCH, rows) // ranks * ranks),
        "n_epochs": EPOCHS[method],
        "learning_rate_multiplier": 1.0,
    }
    if isinstance(asked, Dpo):
        decided["beta"] = DpoStage.model_fields["beta"].default
    if isinstance(asked, Reinforcement):
        decided |= {"compute_multiplier": 1.0, "reasoning_effort": "default"}
        decided |= {"eval_interval": "auto", "eval_samples": 1}
    for name, value in asked.model_dump(exclude_none=True).items():
        if value != "auto":
            decided[name] = value
    return decided


def stage_of(
    kind: str, decided: Mapping[str, Any], training: Dataset, validation: Dataset | None
) -> dict[str, Any]:
    """The stage without its reward."""
    batch = decided["batch_size"]
    steps = math.ceil(decided["n_epochs"] * training.rows / batch)
    stages: dict[str, type[SftStage | DpoStage | PpoStage]] = {"sft": SftStage, "dpo": DpoStage}
    family = stages.get(kind, PpoStage)
    rate = family.model_fields["optimizer"].default.learning_rate
    multiplied = rate * decided["learning_rate_multiplier"]
    stage: dict[str, Any] = {
        "type": kind,
        "steps": steps,
        "optimizer": {"learning_rate": multiplied},
    }
    if family is PpoStage:
        usual = DEFAULTS[kind].get("samples_per_prompt", 1)
        least = 1 if usual == 1 else 2
        samples = max(least, round(usual * decided["compute_multiplier"]))
        stage |= {"prompts": {"path": training.path}, "prompts_per_step": batch}
        return stage | {"samples_per_prompt": samples}
    stage |= {"data": {"path": training.path}, "batch_size": batch}
    stage |= {"validation": {"path": validation.path}} if validation else {"holdout": 0.0}
    return stage | ({"beta": decided["beta"]} if kind == "dpo" else {})


def lengths(method: str, context: int) -> dict[str, Any]:
    """The usual lengths of a stage where they fit into `context` tokens, else as much as does."""
    if method != "reinforcement":
        return {"max_length": min(SftStage.model_fields["max_length"].default, context)}
    prompt = PpoStage.model_fields["max_prompt_length"].default
    answer = SamplingSpec.model_fields["max_new_tokens"].default
    if prompt + answer > context:
        prompt = max(1, context * prompt // (prompt + answer))
        answer = max(1, context - prompt)
    return {"max_prompt_length": prompt, "sampling": {"max_new_tokens": answer}}


def evaluate(
    stage: dict[str, Any], asked: Reinforcement, validation: Dataset | None, at: str
) -> None:
    """Add the evaluation to a reinforcement stage, or refuse settings of one that there is not."""
    if validation is None:
        for name in ("eval_interval", "eval_samples"):
            if getattr(asked, name) != "auto":
                raise SpecError(
                    "has no use without a validation_file; add one", f"{at}.hyperparameters.{name}"
                )
        return
    prompts = {"path": validation.path}
    stage["evaluation"] = {
        "prompts": prompts,
        "num_prompts": max(2, min(EVALUATED, validation.rows)),
    }
    if asked.eval_interval != "auto":
        stage["evaluation"]["every"] = asked.eval_interval
    if asked.eval_samples != "auto":
        stage["evaluation"]["samples_per_prompt"] = asked.eval_samples


def told(method: Method, decided: dict[str, Any]) -> dict[str, Any]:
    """The method's section with its hyperparameters as decided."""
    section: dict[str, Any] = {"hyperparameters": decided}
    if method.reinforcement is not None:
        section["grader"] = method.reinforcement.grader
    return section


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `over` says, section by section."""
    found = dict(base)
    for name, value in over.items():
        below = found.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merged(below, value)
        found[name] = value
    return found


def validated(spec: dict[str, Any]) -> JobSpec:
    """Raises SpecError."""
    try:
        return JobSpec.model_validate(spec)
    except ValidationError as fault:
        first = explain(dict(fault.errors()[0]), spec, suggestion)
        raise SpecError(str(first["message"]), param_of(first["field"])) from None


PARAMS = (
    (r"stages\[0\]\.(data|prompts)\b.*", "training_file"),
    (r"stages\[0\]\.(validation|evaluation\.prompts)\b.*", "validation_file"),
    (r"stages\[0\]\.reward\b(.*)", r"method.reinforcement.grader\1"),
    (r"stages\[0\]\.?(.*)", r"rlhf.stage.\1"),
    (r"labels\b(.*)", r"metadata\1"),
    (r"(seed)", r"\1"),
    (r"name", "suffix"),
    (r"model\.(path|tokenizer)", "model"),
    (r"model\b(.*)", r"rlhf.model\1"),
    (r"(learner|resources|checkpoint|recovery)\b(.*)", r"rlhf.\1\2"),
)
"""Field of a JobSpec → the parameter of the request that said it."""


def param_of(field: str | None) -> str | None:
    """The parameter to name for a fault in a field of the JobSpec."""
    for pattern, param in PARAMS:
        if field is not None and (found := re.fullmatch(pattern, field)):
            return found.expand(param).rstrip(".")
    return None
