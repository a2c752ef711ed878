"""What scores a response. Discriminated on `type`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from rlhf_service.formula import Formula
from rlhf_service.spec.base import Section
from rlhf_service.spec.graders import (
    OUTPUT,
    REFERENCE,
    ChrfReward,
    ExactMatchReward,
    RepetitionReward,
    SentimentReward,
    TextSimilarityReward,
    TokenF1Reward,
)
from rlhf_service.spec.judges import Judge, ModelJudge
from rlhf_service.spec.model import FolderModel, StageModel
from rlhf_service.template import columns_of


class RewardModelReward(Section):
    """The scalar of a reward model trained here (a reward stage, or a folder it left)."""

    type: Literal["reward_model"] = "reward_model"
    name: str = "reward_model"
    """Name of this component in every Score."""

    model: Annotated[FolderModel | StageModel, Field(discriminator="type")]
    """The reward model."""


class StringCheckReward(Section):
    """1 when the response stands in the given relation to the reference, else 0."""

    type: Literal["string_check"] = "string_check"
    name: str = "string_check"
    """Name of this component in every Score."""

    operation: Literal["eq", "ne", "like", "ilike"] = "eq"
    """eq/ne compare whole strings; like/ilike ask whether the response contains the reference."""

    input: str = OUTPUT
    """What is compared; `{{sample.output_text}}` is the response."""

    reference: str = REFERENCE
    """A literal, with `{{item.<column>}}` replaced from the prompt's data row."""


class RegexReward(Section):
    """Number of non-overlapping matches in the response, at most `most`."""

    type: Literal["regex"] = "regex"
    name: str = "regex"
    """Name of this component in every Score."""

    pattern: str
    """Python regular expression."""

    most: int = Field(default=1, ge=1)
    """Matches beyond this number earn nothing."""

    @field_validator("pattern")
    @classmethod
    def pattern_compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as fault:
            raise ValueError(f"not a regular expression: {fault}") from None
        return pattern


class LengthReward(Section):
    """1 − |tokens − target| / target, not below 0."""

    type: Literal["length"] = "length"
    name: str = "length"
    """Name of this component in every Score."""

    target: int = Field(ge=1)
    """Wanted number of response tokens, EOS included."""


class EnsembleReward(Section):
    """Several reward models as one; their disagreement is the component `<name>_disagreement`."""

    type: Literal["ensemble"] = "ensemble"
    name: str = "ensemble"
    """Name of this component in every Score."""

    models: tuple[Annotated[FolderModel | StageModel, Field(discriminator="type")], ...] = Field(
        min_length=2
    )
    """The reward models."""

    combine: Literal["mean", "minimum", "mean_minus_std"] = "mean_minus_std"
    """What becomes of their scores: the mean, the least, or mean − k·std."""

    k: float = Field(default=1.0, ge=0)
    """How much disagreement costs; `mean_minus_std` only."""


AnySingle = (
    RewardModelReward
    | EnsembleReward
    | StringCheckReward
    | TextSimilarityReward
    | ChrfReward
    | ExactMatchReward
    | TokenF1Reward
    | SentimentReward
    | RepetitionReward
    | RegexReward
    | LengthReward
    | Judge
)
SingleReward = Annotated[AnySingle, Field(discriminator="type")]


class MultiReward(Section):
    """Graders joined by a formula, as the OpenAI fine-tuning API's `multi`."""

    type: Literal["multi"] = "multi"
    name: str = "multi"
    """Names the whole; its parts are components under their own names."""

    graders: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], SingleReward] = Field(
        min_length=1
    )
    """The parts by the names that the formula uses."""

    calculate_output: str = Field(min_length=1)
    """`+ - * / ^`, parentheses, numbers, the graders' names, and min, max, abs, floor, ceil, exp,
    sqrt, log."""

    @field_validator("calculate_output")
    @classmethod
    def formula_uses_the_graders(cls, text: str, info: ValidationInfo) -> str:
        known = set(info.data.get("graders", ()))
        unknown = Formula.parse(text).names - known
        if known and unknown:
            raise ValueError(
                f"no grader is named {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
            )
        return text


class BlendReward(Section):
    """Weighted sum of rewards; every Score keeps the components."""

    type: Literal["blend"] = "blend"
    name: str = "blend"
    """Name of this component in every Score."""

    rewards: tuple[SingleReward, ...] = Field(min_length=1)
    """The parts."""

    weights: tuple[float, ...] = Field(min_length=1)
    """One weight for each part, in the same order."""

    @field_validator("weights")
    @classmethod
    def one_weight_each(cls, weights: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        rewards = info.data.get("rewards", weights)
        if len(rewards) != len(weights):
            raise ValueError(
                f"{len(weights)} weights for {len(rewards)} rewards; give one for each"
            )
        return weights


RewardSpec = Annotated[AnySingle | BlendReward | MultiReward, Field(discriminator="type")]


def parts_of(reward: RewardSpec, field: str) -> Iterator[tuple[str, SingleReward]]:
    """Every reward inside `reward`, itself when it is single, each with its dotted field."""
    if isinstance(reward, BlendReward):
        for number, part in enumerate(reward.rewards):
            yield f"{field}.rewards[{number}]", part
    elif isinstance(reward, MultiReward):
        for name, part in reward.graders.items():
            yield f"{field}.graders.{name}", part
    else:
        yield field, reward


def models_in(reward: RewardSpec, field: str) -> Iterator[tuple[str, FolderModel | StageModel]]:
    """Every reward model that `reward` asks, each with its dotted field."""
    for at, part in parts_of(reward, field):
        if isinstance(part, RewardModelReward):
            yield f"{at}.model", part.model
        elif isinstance(part, EnsembleReward):
            for number, model in enumerate(part.models):
                yield f"{at}.models[{number}]", model


def columns_in(reward: RewardSpec, field: str) -> Iterator[tuple[str, str]]:
    """Every column of the data row that `reward` reads, each with the dotted field that says so."""
    for at, part in parts_of(reward, field):
        for name in ("input", "reference"):
            template = getattr(part, name, "")
            if isinstance(template, str):
                for column in columns_of(template):
                    yield f"{at}.{name}", column
        if isinstance(part, ModelJudge):
            for number, message in enumerate(part.input):
                for column in columns_of(message.content):
                    yield f"{at}.input[{number}].content", column
        if isinstance(part, ExactMatchReward | TokenF1Reward):
            yield f"{at}.answers", part.answers
