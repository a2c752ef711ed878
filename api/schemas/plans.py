"""A job's plan beside what it took."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from api.schemas.base import View
from rlhf_service.planning.actual import Actual, Miss
from rlhf_service.planning.records import JobPlan


class PlanView(View):
    """What was planned when the job was accepted, what was measured, and how far apart they are."""

    object: Literal["plan"] = "plan"
    job_id: str
    created_at: datetime
    plan: JobPlan
    actual: Actual
    """So far, while the job runs."""
    errors: list[Miss]
    """Of every figure that was both planned and measured."""
