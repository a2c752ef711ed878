"""Many clients follow jobs' events: python -m tests.benchmarks.streams [--streams 1000] [--jobs 10]

Events are posted as a driver posts them; each carries the moment of its post. Prints one JSON line:
milliseconds until a client has read it, the server's memory and CPU. Some clients leave at random and
come back with the last id they saw; every client asserts that it sees each number once, in order.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.benchmarks.plane import Plane, percentiles, plane, say

LONGEST = 540.0
"""Seconds after which the benchmark gives up."""


@dataclass(slots=True)
class Watcher:
    """One client, as little of one as possible: it shares two cores with the server."""

    plane: Plane
    job: str
    leaves: float
    """Chance of leaving after each part."""
    seen: int = 0
    latencies: list[float] = field(default_factory=list)
    returns: int = -1
    live: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        ended = False
        while not ended:
            self.returns += 1
            ended = await self._connect()

    async def _connect(self) -> bool:
        """Whether all was told."""
        host, port = self.plane.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**22)
        request = (
            f"GET /v1/jobs/{self.job}/stream HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {self.plane.key}\r\nLast-Event-ID: {self.seen}\r\n\r\n"
        )
        writer.write(request.encode())
        rest = b""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head[:200]
            while True:
                part = await reader.read(2**16)
                if not part:
                    return False
                moment = time.time()
                *whole, rest = (rest + part).split(b"\n\n")
                for frame in whole:
                    if b"event: end" in frame:
                        return True
                    self._take(frame, moment)
                self.live.set()
                if random.random() < self.leaves:
                    return False
        finally:
            writer.close()

    def _take(self, frame: bytes, moment: float) -> None:
        found = re.search(rb"^id: (\d+)", frame, re.MULTILINE)
        if not found:
            return
        seq = int(found[1])
        assert seq == self.seen + 1, f"{self.job}: {seq} after {self.seen}"
        self.seen = seq
        sent = re.search(rb'"message":\s*"at ([\d.]+)"', frame)
        if sent and self.live.is_set():
            self.latencies.append(moment - float(sent[1]))


async def measure(found: Plane, args: argparse.Namespace) -> dict[str, Any]:
    headers = found.headers
    async with httpx.AsyncClient(base_url=found.url, headers=headers, timeout=60) as client:
        jobs: list[str] = []
        for _ in range(args.jobs):
            answer = await client.post("/v1/jobs", json=found.spec())
            jobs.append(answer.raise_for_status().json()["id"])
        for job in jobs:
            while (await client.get(f"/v1/jobs/{job}")).json()["status"] == "queued":
                await asyncio.sleep(0.05)
        idle = found.memory()
        stays = int(args.streams * (1 - args.leaving))
        watchers = [
            Watcher(found, jobs[i % len(jobs)], 0.0 if i < stays else 0.02)
            for i in range(args.streams)
        ]
        began = time.perf_counter()
        tasks = [asyncio.create_task(watcher.run()) for watcher in watchers]
        await asyncio.gather(*[watcher.live.wait() for watcher in watchers])
        connected = time.perf_counter() - began
        full, cpu, begun = found.memory(), found.cpu_seconds(), time.perf_counter()
        posted = [
            await post(client, found, jobs[i % len(jobs)], i + 1, args) for i in range(args.events)
        ]
        seconds, used = time.perf_counter() - begun, found.cpu_seconds() - cpu
        for job in jobs:
            (await client.post(f"/v1/jobs/{job}/cancel")).raise_for_status()
        await asyncio.gather(*tasks)
        last = {job: (await client.get(f"/v1/jobs/{job}")).json()["last_seq"] for job in jobs}
    assert all(watcher.seen == last[watcher.job] for watcher in watchers)
    latencies = [second for watcher in watchers for second in watcher.latencies]
    return {
        "streams": args.streams, "jobs": args.jobs, "events": args.events,
        "connect_seconds": round(connected, 2),
        "latency_ms": percentiles(latencies), "deliveries": len(latencies),
        "post_ms": percentiles(posted),
        "returns": sum(watcher.returns for watcher in watchers),
        "memory_mib": {"idle": round(idle), "streams": round(full), "end": round(found.memory())},
        "cpu_share": round(used / seconds, 2),
    }  # fmt: skip


async def post(
    client: httpx.AsyncClient, found: Plane, job: str, number: int, args: argparse.Namespace
) -> float:
    """Post one event, then pause. Seconds of the post."""
    sent = time.time()
    record = {
        "job_id": job, "attempt": 1, "producer": "a1-driver", "producer_seq": number,
        "created_at": "2026-01-01T00:00:00Z",
        "event": {"type": "log", "message": f"at {sent:.6f}"},
    }  # fmt: skip
    path = f"/v1/internal/jobs/{job}/events"
    answer = await client.post(path, json={"events": [record]}, headers=found.driver_headers(job))
    answer.raise_for_status()
    took = time.time() - sent
    await asyncio.sleep(args.pause)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two events")
    parser.add_argument("--leaving", type=float, default=0.2, help="share of clients that leave")
    args = parser.parse_args()

    async def bounded(found: Plane) -> dict[str, Any]:
        async with asyncio.timeout(LONGEST):
            return await measure(found, args)

    with tempfile.TemporaryDirectory() as name, plane(Path(name)) as found:
        say("streams", **asyncio.run(bounded(found)))


if __name__ == "__main__":
    main()
