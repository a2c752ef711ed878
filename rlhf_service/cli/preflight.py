"""A stage's reward, looked at on this machine before any job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rlhf_service.data.rows import PromptRow
from rlhf_service.dry_run import checked_prompts, in_order, look_at_answers, stage_of
from rlhf_service.errors import SpecError
from rlhf_service.events import PreflightCompleted
from rlhf_service.explain import explain
from rlhf_service.preflight import Encode, preflight, reference_columns
from rlhf_service.records import Rollout
from rlhf_service.reward.build import build_reward
from rlhf_service.spec import JobSpec
from rlhf_service.spec.model import FolderModel
from rlhf_service.spec.stages import PpoStage


def look(given: Mapping[str, Any], name: str | None) -> tuple[PreflightCompleted, str]:
    """(findings, what was scored) of stage `name`. Raises RlhfError.

    A policy in a folder is sampled. One that is still to be trained is not: then the data's
    references stand in for its responses.
    """
    spec = valid(given)
    index, stage = stage_of(spec, name)
    start = spec.start_of(stage)
    if not isinstance(start, FolderModel):
        return look_at_answers(spec, name), "the references"
    rows = checked_prompts(index, stage)
    reward, columns = build_reward(stage.reward, {}), reference_columns(stage.reward)
    sampled, encode = sample(start, stage, rows, spec.seed)
    return preflight(stage.name, sampled, reward, columns, encode), "sampled responses"


def valid(given: Mapping[str, Any]) -> JobSpec:
    """Raises SpecError naming the first wrong field."""
    try:
        return JobSpec.model_validate(given)
    except ValidationError as fault:
        first = explain(dict(fault.errors()[0]), given, lambda _: "")
        raise SpecError(str(first["message"]), first["field"]) from None


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
