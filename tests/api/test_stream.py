"""The live stream over a real server and real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import uvicorn

from api.main import create_app
from api.settings import Settings
from rlhf_service.events import Log
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.world import Driver, World, running

pytestmark = pytest.mark.asyncio

Frame = dict[str, str]


@asynccontextmanager
async def serving(settings: Settings, launcher: FakeLauncher) -> AsyncIterator[World]:
    """The application behind uvicorn on a loopback port of the system's choice."""
    app = create_app(settings, launcher)
    # Named protocol: asyncio switches Nagle's algorithm off only where it sees TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([listener]))
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.01)
    key = (settings.control / "first-api-key").read_text().strip()
    headers = {"authorization": f"Bearer {key}"}
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
        yield World(settings, launcher, client, app.state.services, key, app)
    server.should_exit = True
    with suppress(asyncio.CancelledError):
        await task


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    settings = make_settings(tmp_path, "", sse_heartbeat=0.1, sse_lifetime=30)
    async with serving(settings, FakeLauncher()) as made:
        yield made


async def frames(
    world: World, job_id: str, after: int | None = None, query: str = ""
) -> AsyncGenerator[Frame]:
    """What a browser's EventSource would see; comments under the key `comment`."""
    headers = {} if after is None else {"last-event-id": str(after)}
    path = f"/v1/jobs/{job_id}/stream{query}"
    async with world.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        frame: Frame = {}
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                yield {"comment": line[1:].strip()}
            elif line:
                name, _, value = line.partition(": ")
                frame[name] = value
            elif frame:
                yield frame
                frame = {}


async def said(stream: AsyncIterator[Frame]) -> Frame:
    """The next frame that is no comment: on a busy machine a heartbeat may come before any."""
    return await anext(frame async for frame in stream if "comment" not in frame)


def ids(part: bytes) -> list[int]:
    """Numbers of the events in a part of a stream."""
    return [int(line[4:]) for line in part.decode().splitlines() if line.startswith("id: ")]


async def test_every_event_arrives_live_and_the_end_is_said(world: World) -> None:
    job_id, driver = await world.started()
    seen: list[Frame] = []

    async def watch() -> None:
        async for frame in frames(world, job_id):
            seen.append(frame)

    async with asyncio.timeout(20):
        watching = asyncio.create_task(watch())
        for number in range(30):
            await driver.say(Log(message=str(number)))
        world.launcher.succeed(driver.submission_id)
        await world.turn()
        await watching
    events = [frame for frame in seen if "id" in frame]
    last = (await world.job(job_id))["last_seq"]
    assert [int(frame["id"]) for frame in events] == list(range(1, last + 1))
    assert all(json.loads(f["data"])["seq"] == int(f["id"]) for f in events)
    assert (events[0]["event"], events[-1]["event"]) == ("status", "status")
    assert seen[-1]["event"] == "end"
    assert json.loads(seen[-1]["data"]) == {"status": "succeeded"}


async def test_leaving_and_rejoining_again_and_again_has_no_gap_and_no_repeat(
    world: World,
) -> None:
    job_id, driver = await world.started()
    seen: list[int] = []

    async def talk() -> None:
        for number in range(40):
            await driver.say(Log(message=str(number)))
        world.launcher.succeed(driver.submission_id)
        await world.turn()

    async with asyncio.timeout(30):
        talking = asyncio.create_task(talk())
        ended = False
        while not ended:
            taken, stream = 0, frames(world, job_id, after=seen[-1] if seen else 0)
            async for frame in stream:
                ended = frame.get("event") == "end"
                if "id" in frame:
                    seen.append(int(frame["id"]))
                    taken += 1
                if taken == 3:
                    break
            await stream.aclose()
        await talking
    assert seen == list(range(1, (await world.job(job_id))["last_seq"] + 1))


async def test_the_query_resumes_too_and_silence_has_a_heartbeat(world: World) -> None:
    job_id, _ = await world.started()
    last = (await world.job(job_id))["last_seq"]
    async with asyncio.timeout(10):
        stream = frames(world, job_id, query=f"?after={last - 1}")
        assert int((await said(stream))["id"]) == last
        assert "comment" in await anext(stream)
        await stream.aclose()


async def test_a_cursor_beyond_the_log_is_reset(world: World) -> None:
    job_id, _ = await world.started()
    async with asyncio.timeout(10):
        stream = frames(world, job_id, after=999)
        assert (await said(stream))["event"] == "reset"
        assert (await said(stream))["id"] == "1"
        await stream.aclose()
    bad = await world.client.get(f"/v1/jobs/{job_id}/stream", headers={"last-event-id": "x"})
    assert (bad.status_code, bad.json()["param"]) == (400, "Last-Event-ID")


async def test_a_stream_does_not_live_for_ever(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "", sse_lifetime=0.1)
    async with serving(settings, FakeLauncher()) as world, asyncio.timeout(10):
        job_id, _ = await world.started()
        seen = [frame async for frame in frames(world, job_id)]
        assert seen[-1]["event"] == "reconnect"


async def test_the_end_of_the_server_is_said(world: World) -> None:
    job_id, _ = await world.started()
    stream = frames(world, job_id)
    async with asyncio.timeout(20):
        await said(stream)
        world.services.streams.close()
        told = [frame async for frame in stream if "comment" not in frame]
        assert told[-1]["event"] == "reconnect"


async def test_streams_of_one_job_share_its_reads(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "", sse_heartbeat=600)
    async with running(settings, FakeLauncher()) as world, asyncio.timeout(60):
        job_id, driver = await world.started()
        tails = world.services.streams.tails
        streams = [world.services.streams.follow(job_id, 0) for _ in range(50)]
        begun = [ids(await anext(stream)) for stream in streams]
        assert all(seen == begun[0] for seen in begun)
        told = [asyncio.ensure_future(anext(stream)) for stream in streams]
        before = tails.reads
        await driver.say(Log(message="for all"))
        assert {tuple(ids(await part)) for part in told} == {(begun[0][-1] + 1,)}
        assert tails.reads - before <= 4  # not one for each stream
        for stream in streams:
            await stream.aclose()
        assert world.services.streams.open == 0 and not tails._tails


async def test_who_is_far_behind_reads_the_store(world: World) -> None:
    job_id, driver = await world.started()
    for begin in range(0, 1200, 400):
        await driver.say(*[Log(message=str(begin + i)) for i in range(400)])
    last = (await world.job(job_id))["last_seq"]
    async with asyncio.timeout(60):
        for after in (0, last - 700, last - 20):
            follow, seen = world.services.streams.follow(job_id, after), list[int]()
            while len(seen) < last - after:
                seen += ids(await anext(follow))
            assert seen == list(range(after + 1, last + 1))
            await follow.aclose()


async def test_there_are_only_so_many_streams(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "", sse_streams=1)
    async with serving(settings, FakeLauncher()) as world, asyncio.timeout(20):
        job_id, _ = await world.started()
        one = frames(world, job_id)
        await anext(one)
        refused = await world.client.get(f"/v1/jobs/{job_id}/stream")
        assert (refused.status_code, refused.json()["code"]) == (429, "busy")
        await one.aclose()


async def test_another_replica_tells_what_this_one_stored(tmp_path: Path) -> None:
    settings, launcher = make_settings(tmp_path, ""), FakeLauncher()
    async with serving(settings, launcher) as one, asyncio.timeout(20):
        job_id, driver = await one.started()
        other_app = create_app(settings, launcher)
        async with other_app.router.lifespan_context(other_app):
            follow = other_app.state.services.streams.follow(job_id, 0)
            seen = ids(await anext(follow))
            await Driver(one, driver.submission_id, "a1-learner-1").say(Log(message="here"))
            while len(seen) < (await one.job(job_id))["last_seq"]:
                seen += ids(await anext(follow))
            await follow.aclose()
        assert seen == list(range(1, len(seen) + 1))


async def test_the_loops_carry_a_job_through_by_themselves(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "", reconcile=True, reconcile_interval=0.05)
    launcher = FakeLauncher()
    async with serving(settings, launcher) as world, asyncio.timeout(30):
        job_id = (await world.submit())["id"]
        async for frame in frames(world, job_id):
            status = json.loads(frame.get("data", "{}")).get("event", {}).get("status")
            if status == "provisioning":
                while f"{job_id}-a1" not in launcher.attempts:
                    await asyncio.sleep(0.01)
                launcher.succeed(f"{job_id}-a1")
            if frame.get("event") == "end":
                assert json.loads(frame["data"]) == {"status": "succeeded"}
        checks = (await world.get("/readyz"))["checks"]
        carried = ("database", "storage", "reconciler", "cluster")
        assert {checks[name] for name in carried} == {"ok"}, checks
