"""What the tests of the control plane hold in their hands."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from fastapi import FastAPI

from api.main import create_app
from api.services import Services
from api.settings import Settings
from rlhf_service.events import Event, EventRecord, StageStarted, StepCompleted
from rlhf_service.reports import SupervisedReport
from rlhf_service.testing_launcher import FakeLauncher

JSON = dict[str, Any]


@dataclass(slots=True)
class Driver:
    """Speaks as one producer of one attempt."""

    world: World
    submission_id: str
    producer: str = ""
    seq: int = 0

    def __post_init__(self) -> None:
        self.producer = self.producer or f"a{self.request.attempt}-driver"

    @property
    def request(self) -> Any:
        return self.world.launcher.attempts[self.submission_id].request

    def record(self, event: Event) -> JSON:
        self.seq += 1
        return EventRecord(
            job_id=self.request.job_id,
            attempt=self.request.attempt,
            producer=self.producer,
            producer_seq=self.seq,
            created_at=datetime.now(UTC),
            event=event,
        ).model_dump(mode="json")

    async def post(self, *records: JSON, token: str | None = None) -> httpx.Response:
        return await self.world.client.post(
            f"/v1/internal/jobs/{self.request.job_id}/events",
            json={"events": records},
            headers={"authorization": f"Bearer {token or self.request.events_token}"},
        )

    async def say(self, *events: Event) -> JSON:
        answer = await self.post(*[self.record(event) for event in events])
        assert answer.status_code == 200, answer.text
        found: JSON = answer.json()
        return found

    def spool(self, *events: Event, torn: str = "") -> None:
        folder = self.world.settings.folder(self.request.job_id)
        folder.events.mkdir(parents=True, exist_ok=True)
        with (folder.events / f"{self.producer}.jsonl").open("a", encoding="utf-8") as out:
            for event in events:
                out.write(json.dumps(self.record(event)) + "\n")
            out.write(torn)


@dataclass(slots=True)
class World:
    """A running control plane and its client."""

    settings: Settings
    launcher: FakeLauncher
    client: httpx.AsyncClient
    services: Services
    key: str
    app: FastAPI

    def spec(self, **changes: Any) -> JSON:
        """A small job that needs 1 CPU."""
        path = self.settings.storage / "data" / "rows.jsonl"
        path.write_text(json.dumps({"prompt": "2+2=", "completion": "4"}) + "\n", encoding="utf-8")
        stage = {"type": "sft", "data": {"path": str(path)}, "steps": 10, "batch_size": 2}
        model = {"type": "scratch", "hidden_size": 8, "num_heads": 1}
        return {"name": "sums", "model": model, "stages": [stage], **changes}

    async def submit(self, **changes: Any) -> JSON:
        answer = await self.client.post("/v1/jobs", json=self.spec(**changes))
        assert answer.status_code == 201, answer.text
        found: JSON = answer.json()
        return found

    async def get(self, path: str, **params: Any) -> JSON:
        answer = await self.client.get(path, params=params or None)
        assert answer.status_code == 200, answer.text
        found: JSON = answer.json()
        return found

    async def job(self, job_id: str) -> JSON:
        return await self.get(f"/v1/jobs/{job_id}")

    async def ask(self, job_id: str, verb: str) -> JSON:
        answer = await self.client.post(f"/v1/jobs/{job_id}/{verb}")
        assert answer.status_code == 200, answer.text
        found: JSON = answer.json()
        return found

    async def turn(self, times: int = 1) -> None:
        for _ in range(times):
            await self.services.reconciler.turn()

    async def started(self, **changes: Any) -> tuple[str, Driver]:
        """A job whose first attempt is on the cluster and has reported its first step."""
        job_id = (await self.submit(**changes))["id"]
        await self.turn()
        driver = Driver(self, f"{job_id}-a1")
        await driver.say(started(), step(1))
        assert (await self.job(job_id))["status"] == "running"
        return job_id, driver

    async def history(self, job_id: str) -> list[str]:
        """Statuses in the order in which the log tells them."""
        events = (await self.get(f"/v1/jobs/{job_id}/events", limit=1000))["data"]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        return [e["event"]["status"] for e in events if e["event"]["type"] == "status"]


def started(stage: str = "sft", from_step: int = 0) -> StageStarted:
    return StageStarted(stage=stage, kind="sft", steps=10, from_step=from_step)


def step(number: int, loss: float = 2.0, replayed: bool = False) -> StepCompleted:
    report = SupervisedReport(
        loss=loss, tokens=64, grad_norm=1.0, learning_rate=1e-4, seconds=0.5, tokens_per_second=128
    )
    return StepCompleted(stage="sft", step=number, steps=10, report=report, replayed=replayed)


@asynccontextmanager
async def running(
    settings: Settings, launcher: FakeLauncher, key: str = ""
) -> AsyncIterator[World]:
    """The application from start-up to shutdown."""
    app = create_app(settings, launcher)
    async with app.router.lifespan_context(app):
        key = key or (settings.control / "first-api-key").read_text().strip()
        transport = httpx.ASGITransport(app=app)
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", headers=headers
        ) as client:
            yield World(settings, launcher, client, app.state.services, key, app)
