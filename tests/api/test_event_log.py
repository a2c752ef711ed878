"""The job's log: every event once, numbered without gaps, whoever posts when."""

from __future__ import annotations

import asyncio
import random

import pytest

from rlhf_service.events import EvaluationCompleted, Log, Sample, SamplesDrawn, StatusChanged
from rlhf_service.job import JobStatus
from tests.api.world import Driver, World, started, step

pytestmark = pytest.mark.asyncio


async def test_concurrent_and_repeated_posts_make_one_gap_free_log(world: World) -> None:
    job_id, driver = await world.started()
    chance = random.Random(0)
    posts = []
    for number in range(6):
        producer = Driver(world, driver.submission_id, f"a1-learner-{number}")
        records = [producer.record(Log(message=str(i))) for i in range(20)]
        for begin in range(0, 20, 5):
            batch = records[begin : begin + 5]
            posts += [(producer, batch), (producer, batch[2:] + batch)]
    chance.shuffle(posts)
    answers = await asyncio.gather(*[producer.post(*batch) for producer, batch in posts])
    assert sum(answer.json()["accepted"] for answer in answers) == 6 * 20
    events = (await world.get(f"/v1/jobs/{job_id}/events", limit=1000))["data"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    logs = [(e["producer"], e["producer_seq"]) for e in events if e["event"]["type"] == "log"]
    assert sorted(logs) == [(f"a1-learner-{n}", i) for n in range(6) for i in range(1, 21)]
    assert (await world.job(job_id))["last_seq"] == len(events)


async def test_the_receipt_tells_what_is_stored(world: World) -> None:
    _, driver = await world.started()
    record = driver.record(Log(message="once"))
    assert (await driver.post(record)).json() == {"accepted": 1, "last": {"a1-driver": 3}}
    assert (await driver.post(record)).json() == {"accepted": 0, "last": {"a1-driver": 3}}


async def test_pages_of_events(world: World) -> None:
    job_id, driver = await world.started()
    await driver.say(*[Log(message=str(i)) for i in range(7)])
    seen, after = [], 0
    while True:
        page = await world.get(f"/v1/jobs/{job_id}/events", after=after, limit=4)
        seen += [event["seq"] for event in page["data"]]
        if not page["has_more"]:
            break
        after = int(page["last_id"])
    assert seen == list(range(1, len(seen) + 1))


async def test_a_token_opens_one_job_only(world: World) -> None:
    object.__setattr__(world.launcher, "total", type(world.launcher.total)(4.0, 0.0))
    _, mine = await world.started()
    _, other = await world.started()
    stranger = await mine.post(mine.record(Log(message="x")), token=other.request.events_token)
    assert stranger.status_code == 401
    assert (await mine.post(mine.record(Log(message="x")), token=world.key)).status_code == 401
    foreign = {**mine.record(Log(message="x")), "job_id": other.request.job_id}
    answer = await mine.post(foreign)
    assert (answer.status_code, answer.json()["param"]) == (400, "events[0].job_id")


async def test_a_driver_cannot_speak_as_the_control_plane(world: World) -> None:
    job_id, driver = await world.started()
    record = driver.record(Log(message="x"))
    for forged in (
        {**record, "producer": "control"},
        {**record, "attempt": 0},
        driver.record(StatusChanged(status=JobStatus.SUCCEEDED)),
    ):
        assert (await driver.post(forged)).status_code == 400
    assert (await world.job(job_id))["status"] == "running"


async def test_late_news_of_an_older_attempt_is_history_only(world: World) -> None:
    job_id, driver = await world.started()
    world.launcher.crash(driver.submission_id)
    await world.turn(2)
    assert (await driver.say(step(2)))["accepted"] == 1
    job = await world.job(job_id)
    assert (job["status"], job["progress"]["step"]) == ("recovering", 1)


async def test_a_token_opens_one_attempt_only(world: World) -> None:
    job_id, first = await world.started()
    world.launcher.crash(first.submission_id)
    await world.turn(2)
    second = Driver(world, f"{job_id}-a2")
    tokens = first.request.events_token, second.request.events_token
    for driver, foreign in ((first, tokens[1]), (second, tokens[0])):
        answer = await driver.post(driver.record(Log(message="x")), token=foreign)
        assert (answer.status_code, answer.json()["param"]) == (400, "events[0].attempt")
    disguised = {**second.record(Log(message="x")), "producer": "a1-driver"}
    answer = await second.post(disguised)
    assert (answer.status_code, answer.json()["param"]) == (400, "events[0].producer")
    await second.say(Log(message="its own"))
    await first.say(Log(message="late, but its own"))


async def test_of_a_repeated_step_the_newest_report_counts(world: World) -> None:
    job_id, driver = await world.started()
    await driver.say(step(2, loss=1.5), step(3, loss=1.2))
    world.launcher.crash(driver.submission_id)
    await world.turn(2)
    second = Driver(world, f"{job_id}-a2")
    await second.say(started(from_step=1), step(2, loss=1.4, replayed=True))
    await driver.say(step(2, loss=9.9))  # late, of the older attempt
    points = (await world.get(f"/v1/jobs/{job_id}/metrics", stage="sft"))["data"]
    assert [(p["step"], p["report"]["loss"]) for p in points] == [(1, 2.0), (2, 1.4), (3, 1.2)]
    assert [p["replayed"] for p in points] == [False, True, False]
    assert (await world.get(f"/v1/jobs/{job_id}/metrics", stage="ppo"))["data"] == []


async def test_progress_and_eta(world: World) -> None:
    job_id, driver = await world.started()
    await driver.say(step(2), step(3))
    progress = (await world.job(job_id))["progress"]
    assert (progress["stage"], progress["step"], progress["steps"]) == ("sft", 3, 10)
    assert progress["eta_seconds"] == pytest.approx(7 * 0.5, abs=0.06)
    assert progress["metrics"]["loss"] == 2.0


async def test_samples(world: World) -> None:
    job_id, driver = await world.started()
    sample = Sample(prompt="2+2=", response="4", score=1.0)
    await driver.say(
        SamplesDrawn(stage="ppo", step=1, samples=(sample,)),
        EvaluationCompleted(
            stage="ppo", step=1, mean=0.5, standard_error=0.1, n=4, samples=(sample,)
        ),
    )
    found = (await world.get(f"/v1/jobs/{job_id}/samples"))["data"]
    assert [(s["kind"], s["mean"]) for s in found] == [("samples", None), ("evaluation", 0.5)]
    assert found[0]["samples"][0]["response"] == "4"


async def test_logs(world: World) -> None:
    job_id, driver = await world.started()
    world.launcher.attempts[driver.submission_id].log = "epoch 1\n"
    logs = await world.get(f"/v1/jobs/{job_id}/logs")
    assert (logs["attempt"], logs["text"]) == (1, "epoch 1\n")
    assert (await world.client.get(f"/v1/jobs/{job_id}/logs?attempt=2")).status_code == 404
    world.launcher.reachable = False
    answer = await world.client.get(f"/v1/jobs/{job_id}/logs")
    assert answer.status_code == 503
    assert "x-should-retry" not in answer.headers


async def test_report(world: World) -> None:
    job_id, driver = await world.started()
    await driver.say(started(), step(1, loss=2.0), step(2, loss=1.5))
    report = await world.get(f"/v1/jobs/{job_id}/report.json")
    [stage] = report["stages"]
    assert (stage["name"], stage["steps"], stage["planned"]) == ("sft", 2, 10)
    assert stage["series"]["loss"] == {"steps": [1, 2], "values": [2.0, 1.5]}
    answer = await world.client.get(f"/v1/jobs/{job_id}/report.html")
    assert answer.status_code == 200 and "<svg" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for name in ("report.json", "report.html"):
        assert (await world.client.get(f"/v1/jobs/job-none/{name}")).status_code == 404
        bare = await world.client.get(f"/v1/jobs/{job_id}/{name}", headers={"Authorization": ""})
        assert bare.status_code == 401


async def test_every_link_of_a_job_leads_somewhere(world: World) -> None:
    job_id, _ = await world.started()
    links = (await world.get(f"/v1/jobs/{job_id}"))["links"]
    endless = links.pop("stream")
    assert endless == f"/v1/jobs/{job_id}/stream"
    assert {"report", "plan", "events", "metrics"} <= set(links)
    for name, place in links.items():
        answer = await world.client.get(place)
        assert answer.status_code == 200, (name, answer.text)
