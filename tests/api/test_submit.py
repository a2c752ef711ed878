"""Accepting a job: what is refused and how it is said, and one effect for one request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.world import JSON, World

pytestmark = pytest.mark.asyncio


def stage(**changes: Any) -> Callable[[JSON], None]:
    return lambda spec: spec["stages"][0].update(changes)


def top(**changes: Any) -> Callable[[JSON], None]:
    return lambda spec: spec.update(changes)


BAD = [
    ("no stages", top(stages=[]), 422, "stages", "at least 1"),
    ("unknown field", top(stagse=[]), 422, "stagse", "did you mean 'stages'"),
    ("negative steps", stage(steps=-1), 422, "stages[0].steps", "greater than or equal to 1"),
    (
        "typo in a stage",
        stage(batchsize=2),
        422,
        "stages[0].batchsize",
        "did you mean 'batch_size'",
    ),
    ("unknown stage type", stage(type="distil"), 422, "stages[0]", "pretrain"),
    ("no data", stage(data=None), 422, "stages[0].data", "a section of fields"),
    (
        "batch does not divide",
        top(resources={"learner": {"num_workers": 3}}),
        422,
        "stages[0].batch_size",
        "multiple of 3",
    ),
    (
        "a later stage's model",
        stage(model={"type": "stage", "stage": "later"}),
        422,
        "stages[0].model",
        "no earlier stage",
    ),
    ("missing file", stage(data={"path": "DATA/none.jsonl"}), 400, "stages[0].data.path", "none"),
    ("empty file", stage(data={"path": "DATA/empty.jsonl"}), 400, "stages[0].data.path", "empty"),
    (
        "wrong columns",
        stage(data={"path": "DATA/text.jsonl"}),
        400,
        "stages[0].data.path",
        "prompt",
    ),
    ("outside", stage(data={"path": "/etc/passwd"}), 400, "stages[0].data.path", "RLHF_DATA_ROOTS"),
    (
        "climbing out",
        stage(data={"path": "DATA/../control/secret"}),
        400,
        "stages[0].data.path",
        "outside",
    ),
    ("link out", stage(data={"path": "DATA/link.jsonl"}), 400, "stages[0].data.path", "outside"),
    ("relative", stage(data={"path": "rows.jsonl"}), 400, "stages[0].data.path", "absolute"),
    (
        "no such model",
        top(model={"type": "folder", "path": "DATA/model"}),
        400,
        "model.path",
        "model",
    ),
    ("model outside", top(model={"type": "folder", "path": "/etc"}), 400, "model.path", "outside"),
    (
        "more CPUs than there are",
        top(resources={"learner": {"num_workers": 2, "cpus_per_worker": 4}}),
        400,
        "resources.learner.num_workers",
        "needs 8 CPUs; the cluster has at most 2",
    ),
    (
        "GPUs where there are none",
        top(resources={"learner": {"gpus_per_worker": 1}}),
        400,
        "resources.learner.num_workers",
        "needs 1 GPUs; the cluster has at most 0",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "status", "param", "text"), BAD, ids=[b[0] for b in BAD])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_bad_input_names_the_field_and_the_remedy(
    world: World, name: str, spoil: Callable[[JSON], None], status: int, param: str, text: str
) -> None:
    data = world.settings.storage / "data"
    (data / "empty.jsonl").write_text("")
    (data / "text.jsonl").write_text('{"text": "hello"}\n')
    (data / "link.jsonl").symlink_to("/etc/passwd")
    spec = world.spec()
    spoil(spec)
    spec = at_home(spec, data)
    answer = await world.client.post("/v1/jobs", json=spec)
    body = answer.json()
    assert answer.status_code == status, body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-should-retry"] == "false"
    assert body["param"] == body["error"]["param"] == param
    assert text in body["detail"]
    assert body["detail"] == body["error"]["message"]
    assert body["status"] == status
    assert "Traceback" not in answer.text
    assert (await world.get("/v1/jobs"))["data"] == []


def at_home(value: Any, data: Path) -> Any:
    """Put the test's own folder where the table says DATA."""
    if isinstance(value, dict):
        return {key: at_home(item, data) for key, item in value.items()}
    if isinstance(value, list):
        return [at_home(item, data) for item in value]
    return value.replace("DATA", str(data)) if isinstance(value, str) else value


async def test_pools_count_when_a_stage_uses_them(world: World) -> None:
    spec = world.spec(resources={"rollout": {"num_actors": 8, "cpus_per_actor": 1}})
    assert (await world.client.post("/v1/jobs", json=spec)).status_code == 201
    path = spec["stages"][0]["data"]["path"]
    reward = {"type": "length", "target": 4}
    spec["stages"] = [{"type": "ppo", "prompts": {"path": path}, "reward": reward}]
    answer = await world.client.post("/v1/jobs", json=spec)
    assert answer.status_code == 400
    assert answer.json()["param"] == "resources.rollout.num_actors"
    assert "needs 9.25 CPUs; the cluster has at most 2" in answer.json()["detail"]


async def test_an_unreachable_cluster_is_no_reason_to_refuse(world: World) -> None:
    world.launcher.reachable = False
    job = await world.submit(resources={"learner": {"num_workers": 2, "cpus_per_worker": 9}})
    assert job["status"] == "queued"
    assert "resources not checked" in job["message"]


async def test_one_key_one_job(world: World) -> None:
    headers = {"idempotency-key": "today"}
    first = await world.client.post("/v1/jobs", json=world.spec(), headers=headers)
    again = await world.client.post("/v1/jobs", json=world.spec(), headers=headers)
    other = await world.client.post("/v1/jobs", json=world.spec(seed=1), headers=headers)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == f"/v1/jobs/{first.json()['id']}"
    assert other.headers["x-should-retry"] == "false"
    assert other.json()["code"] == "idempotency_key_reused"
    assert len((await world.get("/v1/jobs"))["data"]) == 1


async def test_the_same_key_at_the_same_time(world: World) -> None:
    spec, headers = world.spec(), {"idempotency-key": "race"}
    answers = await asyncio.gather(
        *[world.client.post("/v1/jobs", json=spec, headers=headers) for _ in range(12)]
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 11 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len((await world.get("/v1/jobs"))["data"]) == 1


async def test_what_a_client_sends_again_makes_no_second_job(world: World) -> None:
    again = {"x-stainless-retry-count": "1"}
    first, second = [await world.client.post("/v1/jobs", json=world.spec()) for _ in range(2)]
    assert first.json()["id"] != second.json()["id"], "sent twice on purpose"
    resent = await world.client.post("/v1/jobs", json=world.spec(), headers=again)
    assert (resent.status_code, resent.json()["id"]) == (200, second.json()["id"])
    reordered = dict(reversed(world.spec().items()))
    resent = await world.client.post("/v1/jobs", json=reordered, headers=again)
    assert resent.json()["id"] == second.json()["id"], "the same, in another order"
    other = await world.client.post("/v1/jobs", json=world.spec(seed=1), headers=again)
    assert other.status_code == 201, "its first sending never arrived"
    assert len((await world.get("/v1/jobs"))["data"]) == 3


@pytest.mark.parametrize("first_counts", ["first", "last"])
async def test_a_repetition_that_overtakes_the_first_sending(
    world: World, monkeypatch: pytest.MonkeyPatch, first_counts: str
) -> None:
    """Both are being checked at once; whichever is stored first answers both."""
    territory, gates = world.services.jobs.territory, [asyncio.Event(), asyncio.Event()]
    check, arrived = territory.check, asyncio.Semaphore(0)
    waiting = iter(gates)

    async def slow(*arguments: Any) -> None:
        gate = next(waiting)
        arrived.release()
        await gate.wait()
        await check(*arguments)

    monkeypatch.setattr(territory, "check", slow)
    spec, tasks = world.spec(), []
    for count in ("0", "1"):
        headers = {"x-stainless-retry-count": count}
        post = world.client.post("/v1/jobs", json=spec, headers=headers)
        tasks.append(asyncio.create_task(post))
        await arrived.acquire()
    order = (0, 1) if first_counts == "first" else (1, 0)
    answers = []
    for place in order:
        gates[place].set()
        answers.append(await tasks[place])
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    monkeypatch.setattr(territory, "check", check)
    third = await world.client.post("/v1/jobs", json=spec)
    assert third.status_code == 201, "a further one is meant"


async def test_pages_and_filters(world: World) -> None:
    ids = [(await world.submit(labels={"n": str(i % 2), 'a"$b': "x"}))["id"] for i in range(5)]
    await world.ask(ids[4], "cancel")
    first = await world.get("/v1/jobs", limit=2)
    assert [job["id"] for job in first["data"]] == [ids[4], ids[3]]
    assert (first["object"], first["has_more"], first["first_id"]) == ("list", True, ids[4])
    rest = await world.get("/v1/jobs", limit=3, after=first["last_id"])
    assert [job["id"] for job in rest["data"]] == [ids[2], ids[1], ids[0]]
    assert rest["has_more"] is False
    odd = await world.get("/v1/jobs", label="n=1")
    assert [job["id"] for job in odd["data"]] == [ids[3], ids[1]]
    assert len((await world.get("/v1/jobs", label=["n=1", 'a"$b=x']))["data"]) == 2
    assert (await world.get("/v1/jobs", label="n=2"))["data"] == []
    assert [j["id"] for j in (await world.get("/v1/jobs", status="cancelled"))["data"]] == [ids[4]]


@pytest.mark.parametrize(
    ("params", "status", "param"),
    [
        ({"after": "job-none"}, 400, "after"),
        ({"label": "nosign"}, 400, "label"),
        ({"limit": "0"}, 422, "limit"),
        ({"limit": "x"}, 422, "limit"),
        ({"status": "happy"}, 422, "status[0]"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_bad_list_parameters(
    world: World, params: dict[str, str], status: int, param: str
) -> None:
    answer = await world.client.get("/v1/jobs", params=params)
    assert (answer.status_code, answer.json()["param"]) == (status, param)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_unknown_ids_are_not_found(world: World) -> None:
    paths = ["", "/events", "/stream", "/metrics", "/samples", "/logs"]
    for path in [f"/v1/jobs/job-none{path}" for path in paths] + ["/v1/models/job-none"]:
        answer = await world.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    for verb in ("cancel", "pause", "resume"):
        assert (await world.client.post(f"/v1/jobs/job-none/{verb}")).status_code == 404
    assert (await world.client.delete("/v1/keys/key-none")).status_code == 404
    queued = (await world.submit())["id"]
    assert (await world.client.get(f"/v1/models/{queued}")).status_code == 404
    assert (await world.client.get("/nowhere")).json()["error"]["type"] == "invalid_request_error"


async def test_a_body_that_is_not_sent_as_json_is_told_so(world: World) -> None:
    refused = await world.client.post(
        "/v1/jobs", content=b"name: x", headers={"content-type": "application/yaml"}
    )
    assert refused.status_code == 422
    assert "must be a JSON object, sent with Content-Type" in refused.json()["detail"]
