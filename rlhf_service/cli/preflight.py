"""A stage's reward, looked at on this machine before any job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rlhf_service.data.check import check_prompts
from rlhf_service.data.plan import RowPlan
from rlhf_service.data.rows import PromptRow, read_prompts
from rlhf_service.errors import RlhfError, SpecError
from rlhf_service.events import PreflightCompleted
from rlhf_service.explain import explain
from rlhf_service.preflight import Encode, answered, preflight, reference, reference_columns
from rlhf_service.prompts import PromptSource
from rlhf_service.records import FinishReason, Prompt, Rollout
from rlhf_service.reward.build import build_reward
from rlhf_service.spec import JobSpec
from rlhf_service.spec.model import FolderModel
from rlhf_service.spec.reward import models_in
from rlhf_service.spec.stages import PpoStage


def look(given: Mapping[str, Any], name: str | None) -> tuple[PreflightCompleted, str]:
    """(findings, what was scored) of stage `name`. Raises RlhfError.

    A policy in a folder is sampled. One that is still to be trained is not: then the data's
    references stand in for its responses.
    """
    spec = valid(given)
    index, stage = stage_of(spec, name)
    at = f"stages[{index}]"
    check_prompts(stage, at)
    for field, model in models_in(stage.reward, f"{at}.reward"):
        if model.type == "stage":
            raise SpecError(
                f"the reward model of stage {model.stage!r} is still to be trained; the job itself "
                "has a preflight once it is",
                field,
            )
    rows = read_prompts(stage.prompts, f"{at}.prompts.path")[: stage.preflight.num_prompts]
    reward = build_reward(stage.reward, {})
    columns = reference_columns(stage.reward)
    start = spec.start_of(stage)
    if isinstance(start, FolderModel):
        sampled, encode = sample(start, stage, rows, spec.seed)
        return preflight(stage.name, sampled, reward, columns, encode), "sampled responses"
    sampled = right_answers(rows, columns)
    if not sampled:
        raise RlhfError(
            f"stage {stage.name!r} starts from a policy that is still to be trained, and its prompts "
            f"have no reference (columns {', '.join(columns)}); add one, or start from a folder"
        )
    return preflight(stage.name, sampled, reward, columns, words), "the references"


def valid(given: Mapping[str, Any]) -> JobSpec:
    """Raises SpecError naming the first wrong field."""
    try:
        return JobSpec.model_validate(given)
    except ValidationError as fault:
        first = explain(dict(fault.errors()[0]), given, lambda _: "")
        raise SpecError(str(first["message"]), first["field"]) from None


def stage_of(spec: JobSpec, name: str | None) -> tuple[int, PpoStage]:
    """The stage and its place. Raises RlhfError."""
    rewarded = {s.name: (i, s) for i, s in enumerate(spec.stages) if isinstance(s, PpoStage)}
    if name is None and rewarded:
        return next(iter(rewarded.values()))
    if name not in rewarded:
        raise RlhfError(
            f"no stage with a reward is named {name!r}; there are {sorted(rewarded) or 'none'}"
        )
    return rewarded[name]


def sample(
    model: FolderModel, stage: PpoStage, rows: Sequence[PromptRow], seed: int
) -> tuple[list[Rollout], Encode]:
    """Responses of the policy in a folder, drawn as the stage would, and its encoding."""
    # Torch and transformers are loaded only where a policy speaks.
    from rlhf_service.data.tokens import answer_encoder, encode_prompts
    from rlhf_service.rollout.build import serve_folder

    engine, tokenizer = serve_folder(Path(model.path))
    ids = encode_prompts(rows, tokenizer, stage.max_prompt_length, "prompts")
    prompts = in_order(rows, ids, stage.samples_per_prompt)
    sampled = engine.generate(prompts, stage.sampling, version=1, seed=seed)
    return sampled, answer_encoder(tokenizer)


def right_answers(rows: Sequence[PromptRow], columns: Sequence[str]) -> list[Rollout]:
    """Each row's reference as if the policy had said it; rows without one are left out."""
    unsaid = [
        Rollout(
            prompt=prompt,
            token_ids=(),
            logprobs=(),
            text="",
            finish_reason=FinishReason.EOS,
            policy_version=0,
        )
        for prompt in in_order(rows, [()] * len(rows), 1)
    ]
    return [
        answered(rollout, text, words)
        for rollout in unsaid
        if (text := reference(rollout, columns))
    ]


def in_order(
    rows: Sequence[PromptRow], ids: Sequence[tuple[int, ...]], samples: int
) -> list[Prompt]:
    """`samples` prompts for each row."""
    source = PromptSource(rows, ids, RowPlan(len(rows), len(rows), 0))
    return source.in_order(range(len(rows)), samples)


def words(text: str) -> tuple[int, ...]:
    """Stands in for a tokenizer that is still to be trained: one number for each different word."""
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(word, len(numbers)) for word in text.split())
