"""Ray over several hosts: a job spreads over two workers and ends well whatever befalls them.

Each host is a network namespace with a /tmp of its own; storage is a folder that all of them share.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from rlhf_service.client import Client
from rlhf_service.events import Log, Recovered, RoleStopped, StepCompleted
from rlhf_service.job import JobStatus
from tests.integration.conftest import JOB_SECONDS, PLAIN, answers, finish, wait_until
from tests.integration.hosts import Host, NotPermitted, ip, network, own_network
from tests.small import pipeline_of, write_corpus

ROOT = Path(__file__).parents[2]
TOKEN = "t" * 64
KEY = "rlhf_hosts-of-a-test"
PPO_STEPS = 100
LEASE_SECONDS = 25
RAY = str(Path(sys.executable).with_name("ray"))

# A host that says nothing for some seconds is lost; by default it takes Ray half a minute.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "4",
    # Gloo would take the interface that this machine's name stands for.
    "GLOO_SOCKET_IFNAME": "eth0",
    "PYTHONPATH": str(ROOT),
}


@contextmanager
def permitted() -> Iterator[None]:
    """Skips the test where no namespaces may be made."""
    try:
        yield
    except NotPermitted as why:
        pytest.skip(f"no network namespaces here: {why}")


def test_interfaces_come_and_go_where_no_other_test_sees_them():
    before = socket.if_nameindex()
    with ThreadPoolExecutor(1) as elsewhere:
        assert elsewhere.submit(socket.if_nameindex).result() == before
        with permitted(), own_network():
            ip("link", "add", "rlhfh-br", "type", "bridge")
            assert [name for _, name in socket.if_nameindex()][-1] == "rlhfh-br"
            assert elsewhere.submit(socket.if_nameindex).result() == before
    assert socket.if_nameindex() == before


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every host sees; their /tmp are their own."""
    folder = Path(tempfile.mkdtemp(prefix="rlhf-hosts-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def hosts(shared) -> Iterator[dict[str, Host]]:
    try:
        with permitted(), network(("head", "one", "two", "control"), shared, shared) as made:
            yield made
    finally:
        for log in sorted(shared.glob("*.log")):  # shown where the test failed
            print(log.name, *log.read_text(errors="replace").splitlines()[-40:], sep="\n")


def start_head(head: Host) -> None:
    head.run(
        [
            *(RAY, "start", "--head", "--block", "--num-cpus=0", "--disable-usage-stats"),
            *(f"--node-ip-address={head.address}", "--dashboard-host=0.0.0.0"),
            *("--port=6379", "--dashboard-port=8265", "--object-store-memory=200000000"),
        ],
        ENVIRONMENT,
        "ray",
    )


def start_worker(worker: Host, head: Host) -> None:
    worker.run(
        [
            *(RAY, "start", "--block", "--num-cpus=2", "--disable-usage-stats"),
            *(f"--node-ip-address={worker.address}", f"--address={head.address}:6379"),
            "--object-store-memory=200000000",
        ],
        ENVIRONMENT,
        "ray",
    )


def start_ray(head: Host, *workers: Host) -> None:
    start_head(head)
    wait_until(lambda: head.address in alive(head), 180, "the head", every=1)
    for worker in workers:
        start_worker(worker, head)
    everyone = {host.address for host in (head, *workers)}
    wait_until(lambda: joined(head, workers) == everyone, 180, "both workers", every=1)


def joined(head: Host, workers: Sequence[Host]) -> set[str]:
    """Nodes alive. A worker whose `ray start` gave up is started anew, as its machine would."""
    for worker in workers:
        if not worker.runs():
            worker.stop()
            start_worker(worker, head)
    return alive(head)


def start_control(control: Host, head: Host, shared: Path) -> str:
    url = f"http://{control.address}:8000"
    settings = {
        "RLHF_STORAGE": str(shared / "storage"),
        "RLHF_RAY_ADDRESS": f"http://{head.address}:8265",
        "RLHF_PUBLIC_URL": url,
        "RLHF_BOOTSTRAP_KEY": KEY,
        "RLHF_HOST": "0.0.0.0",
    }
    control.run([sys.executable, "-m", "api.serve"], ENVIRONMENT | settings, "control")
    return url


def alive(head: Host) -> set[str]:
    """Addresses of the nodes that Ray counts on."""
    try:
        found = PLAIN.get(
            f"http://{head.address}:8265/api/v0/nodes", headers={"authorization": f"Bearer {TOKEN}"}
        ).json()
    except (httpx.HTTPError, ValueError):
        return set()
    rows = (found.get("data") or {}).get("result", {}).get("result", [])
    return {row["node_ip"] for row in rows if row["state"] == "ALIVE"}


def spread_over_both(data: Path) -> dict[str, object]:
    """A short job of 3.4 CPUs on hosts of 2: neither can hold it alone."""
    data.mkdir(parents=True, exist_ok=True)
    spec = pipeline_of(write_corpus(data)).model_dump(mode="json")
    [*_, ppo] = spec["stages"]
    # Without the stages before it, of which nothing is asked here.
    ppo |= {"steps": PPO_STEPS, "prompts_per_step": 8, "critic": None, "evaluation": None}
    ppo["reward"] = {"type": "length", "target": 10}
    return spec | {
        "stages": [ppo],
        "learner": {"zero_stage": 3},
        "rollout": {"weights": "collective"},
        "checkpoint": {"every": 4, "keep": 2},
        "recovery": {"request_timeout": 60},
        "resources": {
            "learner": {"num_workers": 2, "cpus_per_worker": 1},
            "rollout": {"num_actors": 2, "cpus_per_actor": 0.5},
            "reward": {"num_actors": 1, "cpus_per_actor": 0.4},
        },
    }


@dataclass(frozen=True, slots=True)
class Land:
    """Four hosts with a service on them, and a job under way."""

    head: Host
    workers: tuple[Host, Host]
    control: Host
    client: Client
    job_id: str
    folder: Path
    """The job's, on the storage that the hosts share."""

    def reached(self) -> int:
        """The newest step that the API knows of."""
        job = self.client.jobs.get(self.job_id)
        assert not job.status.is_terminal, f"{job.status}: {job.message}"
        return job.progress.step if job.progress else 0

    def told(self) -> set[int]:
        """Steps of PPO that the API knows of."""
        return {
            stored.event.step
            for stored in self.client.jobs.events(self.job_id)
            if isinstance(stored.event, StepCompleted) and stored.event.stage == "ppo"
        }

    def written(self) -> list[str]:
        """Every event that any process wrote on any host."""
        files = (self.folder / "events").glob("*.jsonl")
        return [line for path in files for line in path.read_text().splitlines()]

    def wait_for_step(self, step: int, why: str) -> None:
        wait_until(lambda: self.reached() >= step, JOB_SECONDS, f"step {step} {why}", every=1)


def lose_a_worker(land: Land) -> None:
    lost = land.workers[1]
    lost.unplug()
    wait_until(lambda: lost.address not in alive(land.head), 120, "that the loss is noticed", 1)
    lost.stop()  # a raylet that was given up ends; its machine starts it anew
    lost.plug_in()
    start_worker(lost, land.head)
    wait_until(lambda: lost.address in joined(land.head, [lost]), 120, "that it is back", 1)


def cut_off_the_control_plane(land: Land) -> None:
    """Longer than a lease lasts; the job goes on meanwhile."""
    before = len(land.written())
    land.control.unplug()
    cut_at = time.monotonic()
    wait_until(
        lambda: len(land.written()) > before + 2 and time.monotonic() - cut_at > LEASE_SECONDS,
        JOB_SECONDS,
        "progress without a control plane",
        every=1,
    )
    land.control.plug_in()
    wait_until(lambda: answers(f"{land.client.address.url}/readyz"), 60, "the control plane")


def restart_the_head(land: Land) -> None:
    """All that Ray knew is lost, and its workers with it."""
    for host in (land.head, *land.workers):
        host.stop()
    start_ray(land.head, *land.workers)


def test_a_job_over_two_hosts_survives_what_befalls_each(hosts, shared):
    head, one, two, control = (hosts[name] for name in ("head", "one", "two", "control"))
    start_ray(head, one, two)
    url = start_control(control, head, shared)
    with Client(url, KEY) as client:
        wait_until(lambda: answers(f"{url}/livez"), 120, "the control plane")
        storage = shared / "storage"
        job_id = client.jobs.create(spread_over_both(storage / "data")).id
        land = Land(head, (one, two), control, client, job_id, storage / "jobs" / job_id)
        land.wait_for_step(3, "before anything happens")
        lose_a_worker(land)
        land.wait_for_step(land.reached() + 3, "after a worker was lost")
        cut_off_the_control_plane(land)
        restart_the_head(land)
        assert finish(client, job_id) is JobStatus.SUCCEEDED

        assert land.told() == set(range(1, PPO_STEPS + 1))
        stored = list(client.jobs.events(job_id))
        assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
        assert any(isinstance(event.event, RoleStopped | Recovered) for event in stored)
        assert list((land.folder / "events").glob("a2-driver.jsonl"))  # the head's end was noticed
        assert sum(event.event.type != "status" for event in stored) >= len(land.written())
        said = [event.event.message for event in stored if isinstance(event.event, Log)]
        assert any("weights are broadcast to 2 of 2 rollout actors" in line for line in said), said
