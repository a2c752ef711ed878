"""Ray over several hosts: a job spreads over two workers, loses one, and ends well all the same.

Each host is a network namespace with a /tmp of its own; storage is a folder that all of them share.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rlhf_service.client import Client
from rlhf_service.events import Recovered, RoleStopped, StepCompleted
from rlhf_service.job import JobStatus
from tests.integration.conftest import finish, wait_until
from tests.integration.hosts import Host, NotPermitted, network
from tests.small import pipeline_of, write_corpus

ROOT = Path(__file__).parents[2]
TOKEN = "t" * 64
KEY = "rlhf_hosts-of-a-test"
PPO_STEPS = 16
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


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every host sees; their /tmp are their own."""
    folder = Path(tempfile.mkdtemp(prefix="rlhf-hosts-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def hosts(shared) -> Iterator[dict[str, Host]]:
    try:
        with network(("head", "one", "two", "control"), shared, shared) as made:
            yield made
    except NotPermitted as why:
        pytest.skip(f"no network namespaces here: {why}")


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


def answers(url: str, **headers: str) -> bool:
    try:
        return httpx.get(url, timeout=5, headers=headers).status_code == 200
    except httpx.HTTPError:
        return False


def alive(head: Host) -> set[str]:
    """Addresses of the nodes that Ray counts on."""
    try:
        found = httpx.get(
            f"http://{head.address}:8265/api/v0/nodes",
            headers={"authorization": f"Bearer {TOKEN}"},
            timeout=5,
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
        "checkpoint": {"every": 2, "keep": 2},
        "recovery": {"request_timeout": 60},
        "resources": {
            "learner": {"num_workers": 2, "cpus_per_worker": 1},
            "rollout": {"num_actors": 2, "cpus_per_actor": 0.5},
            "reward": {"num_actors": 1, "cpus_per_actor": 0.4},
        },
    }


def test_a_job_over_two_hosts_survives_the_loss_of_one(hosts, shared):
    head, one, two, control = (hosts[name] for name in ("head", "one", "two", "control"))
    start_head(head)
    wait_until(lambda: head.address in alive(head), 180, "the head")
    start_worker(one, head)
    start_worker(two, head)
    url = start_control(control, head, shared)
    everyone = {head.address, one.address, two.address}
    wait_until(lambda: alive(head) == everyone, 180, "both workers")
    wait_until(lambda: answers(f"{url}/readyz"), 120, "the control plane")

    spec = spread_over_both(shared / "storage" / "data")
    with Client(url, KEY) as client:
        job_id = client.jobs.create(spec).id

        def steps_of_ppo() -> int:
            return sum(
                isinstance(stored.event, StepCompleted) and stored.event.stage == "ppo"
                for stored in client.jobs.events(job_id)
            )

        wait_until(lambda: steps_of_ppo() >= 3, 400, "three PPO steps")
        two.unplug()
        wait_until(lambda: two.address not in alive(head), 120, "that the loss is noticed")
        two.stop()  # a raylet that was given up ends; its machine starts it anew
        two.plug_in()
        start_worker(two, head)
        wait_until(lambda: two.address in alive(head), 120, "that it is back")
        assert finish(client, job_id) is JobStatus.SUCCEEDED

        stored = list(client.jobs.events(job_id))
        assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
        done = {
            (event.event.stage, event.event.step)
            for event in stored
            if isinstance(event.event, StepCompleted)
        }
        assert done >= {("ppo", step) for step in range(1, PPO_STEPS + 1)}
        assert any(isinstance(event.event, RoleStopped | Recovered) for event in stored)
        # Every event that any process wrote on any host is in the log.
        files = (shared / "storage" / "jobs" / job_id / "events").glob("*.jsonl")
        written = sum(len(path.read_bytes().splitlines()) for path in files)
        told = sum(event.event.type not in ("status",) for event in stored)
        assert told >= written
