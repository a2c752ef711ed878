"""Jobs that are still to be submitted: `/v1/specs`, `/v1/recipes`, graders."""

from __future__ import annotations

from typing import Any

from rlhf_service.client.call import Call, every, one, part, plain
from rlhf_service.client.calls.jobs import Spec, as_json
from rlhf_service.client.records.drafts import CheckedSpec, PreparedRecipe, Recipe
from rlhf_service.planning.records import JobPlan

GRADERS = "/v1/fine_tuning/alpha/graders"


def check(text: str) -> Call[CheckedSpec]:
    """Check a job, JSON or YAML, as a submission would. Nothing is submitted."""
    return Call("POST", "/v1/specs/check", one(CheckedSpec), json={"text": text})


def plan(spec: Spec, *, gpu: str | None = None, devices: int | None = None) -> Call[JobPlan]:
    """What a job would need: memory of each role, time of each stage, whether it fits, and what to
    change. `gpu` is one of the service's catalogue; advice may use up to `devices`.
    """
    query = {"gpu": gpu, "devices": devices}
    return Call("POST", "/v1/jobs:plan", one(JobPlan), json=as_json(spec), query=query)


def preflight(spec: Spec, stage: str | None = None) -> Call[dict[str, Any]]:
    """What a stage's reward pays for right answers and for answers that say nothing; rewards that
    read text alone.
    """
    body = {"spec": as_json(spec), "stage": stage}
    return Call("POST", "/v1/jobs:preflight", plain, json=body)


def recipes() -> Call[list[Recipe]]:
    """Complete jobs on data that comes with the service."""
    return Call("GET", "/v1/recipes", every(Recipe))


def prepare(name: str, seed: int = 0) -> Call[PreparedRecipe]:
    """Write a recipe's data into the service's storage; answers with its job."""
    path = f"/v1/recipes/{part(name)}/prepare"
    return Call("POST", path, one(PreparedRecipe), json={"seed": seed})


def validate_grader(grader: dict[str, Any]) -> Call[dict[str, Any]]:
    """Whether a job would take this grader."""
    return Call("POST", f"{GRADERS}/validate", plain, json={"grader": grader})


def run_grader(
    grader: dict[str, Any], response: str, item: dict[str, Any] | None = None
) -> Call[dict[str, Any]]:
    """Score one response; `item` is the data row."""
    body = {"grader": grader, "model_sample": response, "item": item or {}}
    return Call("POST", f"{GRADERS}/run", plain, json=body)
