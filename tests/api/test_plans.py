"""Plans over REST: asked for, stored with a job, set beside what was measured."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import delete

from api.service.plans import setting_of
from api.store.tables import EventRow
from rlhf_service.events import JobStopped, MemoryMeasured
from rlhf_service.job import StopReason
from rlhf_service.planning.catalogue import gpu_profile
from rlhf_service.planning.device import write_profile
from tests.api.world import World, step
from tests.planning import machine

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]


async def test_a_plan_is_answered_and_nothing_submitted(world: World) -> None:
    write_profile(machine(), world.settings.profile)
    answer = await world.client.post("/v1/jobs:plan", json=world.spec())
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert plan["object"] == "job_plan" and plan["fits"] is True
    assert plan["seconds"]["value"] > 0 and plan["source"] == "measured"
    assert (await world.get("/v1/jobs"))["data"] == []


async def test_without_a_calibration_times_are_unavailable_with_the_reason(world: World) -> None:
    plan = (await world.client.post("/v1/jobs:plan", json=world.spec())).json()
    assert plan["fits"] is None and plan["seconds"]["value"] is None
    assert "rlhf calibrate" in plan["seconds"]["unavailable"]


async def test_refusals_name_their_field(world: World) -> None:
    answer = await world.client.post("/v1/jobs:plan?gpu=H1000", json=world.spec())
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "gpu"
    spec = world.spec(model={"type": "folder", "path": "/etc"})
    answer = await world.client.post("/v1/jobs:plan", json=spec)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "model.path"
    answer = await world.client.post("/v1/jobs:plan", json=world.spec() | {"stages": []})
    assert answer.status_code == 422


async def test_a_broken_profile_is_told_and_stops_no_submission(world: World) -> None:
    world.settings.profile.write_text("{")
    answer = await world.client.post("/v1/jobs:plan", json=world.spec())
    assert answer.status_code == 409 and "rlhf calibrate" in answer.json()["detail"]
    job = await world.submit()
    missing = await world.client.get(f"/v1/jobs/{job['id']}/plan")
    assert missing.status_code == 404


async def test_a_measured_gpu_goes_before_the_clusters_and_after_one_asked_for(
    world: World,
) -> None:
    settings = world.settings.model_copy(update={"gpu": "A100-80GB"})
    assert setting_of(settings).gpu == gpu_profile("A100-80GB")
    own = gpu_profile("H100").model_copy(update={"name": "GPU 0", "source": "measured"})
    write_profile(own, settings.gpu_profile)
    assert setting_of(settings).gpu == own
    assert setting_of(settings, "H200").gpu == gpu_profile("H200")
    spec = world.spec(resources={"learner": {"num_workers": 1, "gpus_per_worker": 1}})
    answer = await world.client.post("/v1/jobs:plan", json=spec)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["device"], answer.json()["source"]) == ("GPU 0", "measured")


async def test_what_was_measured_stands_beside_the_plan_and_outlives_the_log(world: World) -> None:
    write_profile(machine(), world.settings.profile)
    job_id, driver = await world.started()
    path = f"/v1/jobs/{job_id}/plan"
    running = await world.get(path)
    assert running["actual"]["stages"]["sft"]["steps"] == 1
    await driver.say(
        step(2),
        MemoryMeasured(role="learner", process=0, peak=10**9),
        MemoryMeasured(role="driver", peak=2 * 10**8),
        JobStopped(reason=StopReason.COMPLETED),
    )
    view = await world.get(path)
    assert view["actual"]["memory"] == {"learner": 10**9, "driver": 2 * 10**8}
    errors = {miss["what"]: miss for miss in view["errors"]}
    assert errors.keys() == {"memory of learner", "memory of driver", "step of sft"}
    miss = errors["memory of learner"]
    assert miss["error"] == pytest.approx(miss["planned"] / miss["actual"] - 1)
    async with world.services.database.write() as session:
        await session.execute(delete(EventRow).where(EventRow.job_id == job_id))
    assert await world.get(path) == view


async def test_the_document_shows_examples_that_are_jobs(world: World) -> None:
    from rlhf_service.spec import JobSpec

    schema = await world.get("/openapi.json")
    body = schema["paths"]["/v1/jobs:plan"]["post"]["requestBody"]
    examples = body["content"]["application/json"]["examples"]
    assert examples.keys() == {"cpu", "gpu"}
    for example in examples.values():
        JobSpec.model_validate(json.loads(json.dumps(example["value"])))
