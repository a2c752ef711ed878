"""What scores a response. Discriminated on `type`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from rlhf_service.spec.base import Section
from rlhf_service.spec.judges import Judge
from rlhf_service.spec.model import FolderModel, StageModel


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

    input: str = "{{sample.output_text}}"
    """What is compared; `{{sample.output_text}}` is the response."""

    reference: str = "{{item.reference}}"
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


SingleReward = Annotated[
    RewardModelReward | StringCheckReward | RegexReward | LengthReward | Judge,
    Field(discriminator="type"),
]


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


RewardSpec = Annotated[
    RewardModelReward | StringCheckReward | RegexReward | LengthReward | BlendReward | Judge,
    Field(discriminator="type"),
]
