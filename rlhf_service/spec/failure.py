"""What becomes of a response whose score could not be had."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_service.spec.base import Section


class DropFailure(Section):
    """Set the prompt aside: it is counted, kept as evidence, and not learnt from."""

    type: Literal["drop"] = "drop"


class FailJob(Section):
    """End the job for reason `reward_failed`."""

    type: Literal["fail"] = "fail"


class PenaltyFailure(Section):
    """Give a stated score, marked by the component `failed`. For failures that are the response's own
    fault, such as an answer that a grader cannot parse; never for an outage."""

    type: Literal["penalty"] = "penalty"
    score: float
    """The score."""


class RetryFailure(Section):
    """Score again, then drop."""

    type: Literal["retry"] = "retry"

    times: int = Field(default=2, ge=1, le=20)
    """Tries after the first."""

    pause: float = Field(default=1.0, ge=0, le=60)
    """Seconds before the first new try; doubled before each further one."""


FailureAction = Annotated[
    DropFailure | FailJob | PenaltyFailure | RetryFailure, Field(discriminator="type")
]


class FailurePolicySpec(Section):
    """By kind of failure: `raised`, `timeout`, `not_finite`, and what remote rewards add."""

    default: FailureAction = DropFailure()
    """For kinds that are not named."""

    kinds: dict[str, FailureAction] = Field(default_factory=dict)
    """Kind → action."""

    evidence: int = Field(default=1000, ge=0)
    """Failed responses kept in the job's `quarantine.jsonl`, from the first."""
