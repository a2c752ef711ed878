"""`/v1/jobs:plan` and `/v1/jobs/{id}/plan`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from fastapi.openapi.models import Example

from api.deps import CallerDep, JobId, ServicesDep, SignedIn
from api.schemas.plans import PlanView
from rlhf_service.planning.records import JobPlan
from rlhf_service.spec import JobSpec

router = APIRouter(prefix="/v1", tags=["jobs"], dependencies=[SignedIn])

SCRATCH: dict[str, Any] = {
    "name": "sums",
    "model": {"type": "scratch", "hidden_size": 256, "num_layers": 4},
    "stages": [{"type": "sft", "data": {"path": "/data/sft.jsonl"}, "batch_size": 32}],
}
ON_GPUS: dict[str, Any] = {
    "name": "sums on GPUs",
    "model": {"type": "folder", "path": "/models/a-7b"},
    "stages": [
        {
            "type": "ppo",
            "prompts": {"path": "/data/prompts.jsonl"},
            "reward": {"type": "exact_match"},
            "sampling": {"max_new_tokens": 512},
        }
    ],
    "learner": {"precision": "bf16", "zero_stage": 3},
    "resources": {
        "learner": {"num_workers": 8, "gpus_per_worker": 0.5},
        "rollout": {"num_actors": 8, "gpus_per_actor": 0.5},
    },
}
EXAMPLES = {
    "cpu": Example(summary="A small network on this machine's CPUs", value=SCRATCH),
    "gpu": Example(summary="PPO of a larger model; add ?gpu=H100", value=ON_GPUS),
}


@router.post("/jobs:plan")
async def plan_job(
    spec: Annotated[JobSpec, Body(openapi_examples=EXAMPLES)],
    caller: CallerDep,
    parts: ServicesDep,
    gpu: Annotated[
        str | None,
        Query(max_length=32, description="A GPU of the catalogue, for jobs on GPUs: `H100`."),
    ] = None,
    devices: Annotated[
        int | None,
        Query(ge=1, le=4096, description="GPUs, or cores, that advice may use. 8, or all cores."),
    ] = None,
) -> JobPlan:
    """What a job would need: memory of each role, time of each stage, whether it fits, and what to
    change. Nothing is submitted. A figure that is not known is null, with its reason.
    """
    return await parts.plans.plan(caller, spec, gpu, devices)


@router.get("/jobs/{job_id}/plan")
async def get_plan(job_id: JobId, caller: CallerDep, parts: ServicesDep) -> PlanView:
    """What was planned when the job was accepted, what it took, and the error of each figure."""
    return await parts.plans.get(caller, job_id)
