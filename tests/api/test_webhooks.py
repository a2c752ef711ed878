"""Webhooks: who is told what, by whom signed, how often and in which order."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from sqlalchemy import delete, update

from api.store.tables import EventRow
from api.store.types import now
from api.store.webhook_tables import DeliveryRow
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.world import JSON, World, running, started, step

pytestmark = pytest.mark.asyncio


@dataclass
class Receiver:
    """A server of somebody else's. It answers what `says` says of a message."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    says: Callable[[JSON], int] = lambda message: 204
    held: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)

    def messages(self) -> list[JSON]:
        return [json.loads(body) for _, body in self.got]

    def told(self) -> list[str]:
        return [message["type"] for message in self.messages()]


@contextmanager
def receiver() -> Iterator[Receiver]:
    here = Receiver()
    here.held.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            here.got.append(({key.lower(): v for key, v in self.headers.items()}, body))
            here.arrived.set()
            here.held.wait(20)
            status = here.says(json.loads(body))
            self.send_response(status)
            if status == 302:
                self.send_header("location", here.url + "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    here.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield here
    finally:
        here.held.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("RLHF_ALLOW_PRIVATE_URLS", "1")
    with receiver() as made:
        yield made


@pytest_asyncio.fixture
async def world(tmp_path: Path, database_url: str, launcher: FakeLauncher) -> AsyncIterator[World]:
    settings = make_settings(
        tmp_path, database_url, webhook_pause=0.01, webhook_attempts=4, webhook_timeout=5.0
    )
    async with running(settings, launcher) as made:
        yield made


async def make(world: World, url: str, **changes: Any) -> JSON:
    answer = await world.client.post("/v1/webhooks", json={"url": url, **changes})
    assert answer.status_code == 201, answer.text
    found: JSON = answer.json()
    return found


async def deliveries(world: World, hook: JSON, **params: Any) -> list[JSON]:
    page = await world.get(f"/v1/webhooks/{hook['id']}/deliveries", limit=1000, **params)
    found: list[JSON] = page["data"]
    return found[::-1]


async def drain(world: World, hook: JSON) -> list[JSON]:
    """Let the deliverer work until nothing is pending; the deliveries, oldest first."""
    async with asyncio.timeout(60):
        while True:
            await world.services.deliverer.turn()
            found = await deliveries(world, hook)
            if all(delivery["state"] != "pending" for delivery in found):
                return found
            await asyncio.sleep(0.005)


async def test_a_job_is_told_from_queue_to_end_signed_and_in_order(
    world: World, there: Receiver
) -> None:
    hook = await make(world, there.url, events=["*"])
    job_id, driver = await world.started()
    await driver.say(step(2))
    world.launcher.succeed(driver.submission_id)
    await world.turn()
    done = await drain(world, hook)
    assert there.told() == [
        "job.validating", "job.queued", "job.provisioning", "job.stage_started", "job.running",
        "job.step", "job.step", "job.succeeded",
    ]  # fmt: skip
    logged = (await world.get(f"/v1/jobs/{job_id}/events", limit=100))["data"]
    assert [message["data"]["event"] for message in there.messages()] == logged
    assert {delivery["state"] for delivery in done} == {"delivered"}
    assert {delivery["status_code"] for delivery in done} == {204}
    client = openai.OpenAI(api_key="x", webhook_secret=hook["secret"])
    for (headers, body), delivery in zip(there.got, done, strict=True):
        client.webhooks.verify_signature(body.decode(), headers)
        assert headers["webhook-id"] == delivery["id"] == json.loads(body)["id"]
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(there.got[0][1].decode() + " ", there.got[0][0])


async def test_only_what_was_asked_for_is_told(world: World, there: Receiver) -> None:
    ends = await make(world, there.url + "/ends")
    steps = await make(world, there.url + "/steps", events=["job.step"])
    assert ends["events"] == ["job.cancelled", "job.failed", "job.succeeded"]
    job_id, _ = await world.started()
    await world.ask(job_id, "cancel")
    await world.turn()
    assert [d["type"] for d in await drain(world, ends)] == ["job.cancelled"]
    assert [d["type"] for d in await drain(world, steps)] == ["job.step"]


async def test_a_receiver_that_fails_first_gets_everything_in_order(
    world: World, there: Receiver
) -> None:
    failures = {"job.validating": 3, "job.provisioning": 1}

    def says(message: JSON) -> int:
        left = failures.get(message["type"], 0)
        failures[message["type"]] = left - 1
        return 500 if left > 0 else 200

    there.says = says
    hook = await make(world, there.url, events=["job.validating", "job.queued", "job.provisioning"])
    await world.submit()
    await world.turn()
    done = await drain(world, hook)
    assert there.told() == ["job.validating"] * 4 + ["job.queued"] + ["job.provisioning"] * 2
    assert [d["attempts"] for d in done] == [4, 1, 2]
    bodies = [body for _, body in there.got[:4]]
    assert len(set(bodies)) == 1, "the same message, however often"
    assert len({headers["webhook-id"] for headers, _ in there.got[:4]}) == 1


async def test_a_dead_message_lets_the_next_pass_and_can_be_asked_for_again(
    world: World, there: Receiver
) -> None:
    there.says = lambda message: 503 if message["type"] == "job.validating" else 200
    hook = await make(world, there.url, events=["*"])
    await world.submit()
    done = await drain(world, hook)
    assert [(d["type"], d["state"], d["attempts"]) for d in done] == [
        ("job.validating", "dead", 4),
        ("job.queued", "delivered", 1),
    ]
    assert done[0]["error"] == "the receiver answered 503"
    assert [d["id"] for d in await deliveries(world, hook, state="dead")] == [done[0]["id"]]
    there.says = lambda message: 200
    again = f"/v1/webhooks/{hook['id']}/deliveries/{done[0]['id']}/redeliver"
    assert (await world.client.post(again)).json()["state"] == "pending"
    assert {d["state"] for d in await drain(world, hook)} == {"delivered"}
    assert there.told()[-1] == "job.validating"
    assert there.got[-1][0]["webhook-id"] == done[0]["id"]


async def test_pauses_double_and_end() -> None:
    from api.reconcile.delivery import Deliverer
    from api.settings import Settings

    deliverer = Deliverer(None, None, Settings(webhook_pause=5.0), b"")  # type: ignore[arg-type]
    for attempts in range(1, 40):
        pause = deliverer.pause(attempts)
        wanted = min(3600.0, 5.0 * 2.0 ** (attempts - 1))
        assert 0.75 * wanted <= pause <= 1.25 * wanted


async def test_gone_means_gone(world: World, there: Receiver) -> None:
    there.says = lambda message: 410
    hook = await make(world, there.url, events=["*"])
    await world.submit()
    done = await drain(world, hook)
    assert len(there.got) == 1
    assert {d["state"] for d in done} == {"dead"} and len(done) == 2
    assert (await world.get(f"/v1/webhooks/{hook['id']}"))["disabled_at"] is not None
    await world.submit()
    assert len(await deliveries(world, hook)) == 2
    again = f"/v1/webhooks/{hook['id']}/deliveries/{done[0]['id']}/redeliver"
    assert (await world.client.post(again)).status_code == 409


async def test_a_redirect_is_not_followed(world: World, there: Receiver) -> None:
    there.says = lambda message: 302
    hook = await make(world, there.url, events=["job.queued"])
    await world.submit()
    [only] = await drain(world, hook)
    assert (only["state"], only["status_code"], len(there.got)) == ("dead", 302, 4)


async def test_a_sender_that_froze_writes_nothing_and_another_sends_again(
    world: World, there: Receiver
) -> None:
    hook = await make(world, there.url, events=["job.queued"])
    await world.submit()
    there.held.clear()
    [pending] = await deliveries(world, hook)
    frozen = asyncio.create_task(world.services.deliverer.deliver(pending["id"]))
    await asyncio.to_thread(there.arrived.wait, 20)
    assert not await world.services.deliverer.deliver(pending["id"]), "its lease holds"
    async with world.services.database.write() as session:
        past = now().replace(year=2000)
        await session.execute(update(DeliveryRow).values(lease_expires_at=past))
    there.says = lambda message: 500
    successor = asyncio.create_task(world.services.deliverer.deliver(pending["id"]))
    async with asyncio.timeout(20):
        while len(there.got) < 2:
            await asyncio.sleep(0.01)
    there.held.set()
    await asyncio.gather(frozen, successor)
    [after] = await deliveries(world, hook)
    assert after["attempts"] == 1, "only the successor's sending was written down"


async def test_addresses_that_may_not_be_called(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RLHF_ALLOW_PRIVATE_URLS", raising=False)
    for url in (
        "http://127.0.0.1/x",
        "http://10.0.0.1",
        "http://169.254.169.254/",
        "ftp://a.b",
        "x",
    ):
        answer = await world.client.post("/v1/webhooks", json={"url": url})
        assert (answer.status_code, answer.json()["param"]) == (400, "url"), url
    answer = await world.client.post(
        "/v1/webhooks", json={"url": "https://a.example", "events": ["job.done"]}
    )
    assert answer.status_code == 422 and "job.succeeded" in answer.text


async def test_a_name_that_leads_inside_by_the_time_it_is_called_is_not_called(
    world: World, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = there.url.rpartition(":")[2]
    hook = await make(world, f"http://localhost:{port}", events=["job.queued"])
    monkeypatch.delenv("RLHF_ALLOW_PRIVATE_URLS")
    await world.submit()
    [only] = await drain(world, hook)
    assert only["state"] == "dead" and "not public" in only["error"]
    assert there.got == []


async def test_secrets_are_shown_once_and_webhooks_are_their_tenants(
    world: World, there: Receiver
) -> None:
    hook, other = await make(world, there.url), await make(world, there.url)
    assert hook["secret"].startswith("whsec_") and hook["secret"] != other["secret"]
    listed = (await world.get("/v1/webhooks"))["data"]
    assert [one["id"] for one in listed] == [hook["id"], other["id"]]
    assert all("secret" not in one for one in listed)
    key = await world.client.post("/v1/keys", json={"tenant": "theirs", "scopes": ["write"]})
    theirs = {"authorization": f"Bearer {key.json()['secret']}"}
    path = f"/v1/webhooks/{hook['id']}"
    for method, where in (("GET", path), ("DELETE", path), ("GET", path + "/deliveries")):
        answer = await world.client.request(method, where, headers=theirs)
        assert answer.status_code == 404, (method, where)
    await make(world, there.url, events=["*"])
    await world.client.delete(path)
    assert len((await world.get("/v1/webhooks"))["data"]) == 2
    assert (await world.client.get(path)).status_code == 404
    # A job of another tenant is told to nobody here.
    job = await world.client.post("/v1/jobs", json=world.spec(), headers=theirs)
    if job.status_code == 201:
        await drain(world, listed[1])
        assert there.got == []


async def test_a_deleted_webhook_is_told_nothing_more(world: World, there: Receiver) -> None:
    hook = await make(world, there.url, events=["*"])
    _, driver = await world.started()
    await driver.say(started("again"))
    await world.client.delete(f"/v1/webhooks/{hook['id']}")
    assert await world.services.deliverer.turn() == 0
    assert there.got == []


async def test_an_event_that_was_dropped_holds_up_nobody(world: World, there: Receiver) -> None:
    hook = await make(world, there.url, events=["*"])
    job_id = (await world.submit())["id"]
    async with world.services.database.write() as session:
        gone = EventRow.job_id == job_id, EventRow.seq == 1
        await session.execute(delete(EventRow).where(*gone))
    done = await drain(world, hook)
    assert [d["state"] for d in done] == ["dead", "delivered"]
    assert "dropped" in done[0]["error"]
