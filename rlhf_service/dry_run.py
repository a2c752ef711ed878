"""A reward looked at before any job and without its policy: what it pays for right answers, and for
answers that say nothing. Import-light.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_service.data.check import check_prompts
from rlhf_service.data.plan import RowPlan
from rlhf_service.data.rows import PromptRow, read_prompts
from rlhf_service.errors import SpecError
from rlhf_service.events import PreflightCompleted
from rlhf_service.preflight import answered, preflight, reference, reference_columns
from rlhf_service.prompts import PromptSource
from rlhf_service.records import FinishReason, Prompt, Rollout
from rlhf_service.reward.build import build_reward
from rlhf_service.spec import JobSpec
from rlhf_service.spec.reward import models_in
from rlhf_service.spec.stages import PpoStage


def look_at_answers(spec: JobSpec, name: str | None) -> PreflightCompleted:
    """Score the references in the prompts of stage `name` as if the policy had said them. Raises
    UserError naming the field.
    """
    index, stage = stage_of(spec, name)
    rows = checked_prompts(index, stage)
    reward, columns = build_reward(stage.reward, {}), reference_columns(stage.reward)
    sampled = right_answers(rows, columns)
    if not sampled:
        raise no_references(index, stage, columns)
    return preflight(stage.name, sampled, reward, columns, words)


def checked_prompts(index: int, stage: PpoStage) -> Sequence[PromptRow]:
    """The first prompts of the stage. Raises UserError."""
    at = f"stages[{index}]"
    check_prompts(stage, at)
    for field, model in models_in(stage.reward, f"{at}.reward"):
        if model.type == "stage":
            raise SpecError(
                f"the reward model of stage {model.stage!r} is still to be trained; the job itself "
                "has a preflight once it is",
                field,
            )
    return read_prompts(stage.prompts, f"{at}.prompts.path")[: stage.preflight.num_prompts]


def no_references(index: int, stage: PpoStage, columns: Sequence[str]) -> SpecError:
    return SpecError(
        f"stage {stage.name!r} starts from a policy that is still to be trained, and its prompts "
        f"have no reference (columns {', '.join(columns)}); add one, or start from a folder",
        f"stages[{index}].prompts.path",
    )


def stage_of(spec: JobSpec, name: str | None) -> tuple[int, PpoStage]:
    """The stage and its place. Raises SpecError."""
    rewarded = {s.name: (i, s) for i, s in enumerate(spec.stages) if isinstance(s, PpoStage)}
    if name is None and rewarded:
        return next(iter(rewarded.values()))
    if name not in rewarded:
        raise SpecError(
            f"no stage with a reward is named {name!r}; there are {sorted(rewarded) or 'none'}"
        )
    return rewarded[name]


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
