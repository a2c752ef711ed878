"""Settings that move while a stage trains."""

from __future__ import annotations

from pydantic import Field

from rlhf_service.spec.base import Section


class Ramp(Section):
    """From the setting's own value to `to`, in a straight line over the first `steps` steps."""

    to: float = Field(ge=0)
    """Value at the end of the ramp, and after it."""

    steps: int | None = Field(default=None, ge=1)
    """Steps the ramp takes; the whole stage when absent."""


class TemperatureRamp(Ramp):
    """The same for a temperature, which is never 0."""

    to: float = Field(gt=0)
    """Temperature at the end of the ramp, and after it."""


class AnnealingSpec(Section):
    """Exploration early, exploitation late: what changes from step to step."""

    temperature: TemperatureRamp | None = None
    """Starts at sampling.temperature. Sampler and trainer move together; evaluations stay at the
    start, so that they can be compared."""

    entropy_coef: Ramp | None = None
    """Starts at ppo.entropy_coef."""
