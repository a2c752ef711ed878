"""How a response's tokens are credited: one section for each estimator."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_service.spec.base import Section


class GaeAdvantage(Section):
    """Generalised advantage estimation with a critic (arXiv 1506.02438)."""

    type: Literal["gae"] = "gae"

    lam: float = Field(default=0.95, ge=0, le=1)
    """GAE λ."""

    whiten: bool = True
    """Zero mean and unit variance over all response tokens of the global batch."""


class GroupAdvantage(Section):
    """Return minus the mean of the prompt's group (GRPO, arXiv 2402.03300). No critic."""

    type: Literal["group"] = "group"

    divide_by_std: bool = True
    """Divide by the group's standard deviation, as GRPO does; Dr. GRPO (arXiv 2503.20783) does not."""

    whiten: bool = False
    """Zero mean and unit variance over all response tokens of the global batch."""


class LeaveOneOutAdvantage(Section):
    """Return minus the mean of the group's other returns (RLOO, arXiv 2402.14740). No critic."""

    type: Literal["leave_one_out"] = "leave_one_out"

    whiten: bool = False
    """Zero mean and unit variance over all response tokens of the global batch."""


class ReturnToGoAdvantage(Section):
    """Rewards still to come, whitened over the batch (REINFORCE++, arXiv 2501.03262). No critic."""

    type: Literal["return_to_go"] = "return_to_go"

    group_baseline: bool = False
    """Subtract the mean score of the prompt's group first (the paper's baseline variant)."""

    whiten: bool = True
    """Zero mean and unit variance over all response tokens of the global batch."""


AdvantageSpec = Annotated[
    GaeAdvantage | GroupAdvantage | LeaveOneOutAdvantage | ReturnToGoAdvantage,
    Field(discriminator="type"),
]
