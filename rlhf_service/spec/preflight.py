"""A look at the reward before anything is trained on it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_service.spec.base import Section


class PreflightSpec(Section):
    """Scores a few sampled responses, and answers that no reward should pay for."""

    enabled: bool = True
    """Run it when the stage first starts."""

    num_prompts: int = Field(default=16, ge=2)
    """Prompts looked at, from the first; each is answered samples_per_prompt times."""

    on_warning: Literal["warn", "refuse"] = "warn"
    """`refuse` fails the job before its first step when there is a warning."""
