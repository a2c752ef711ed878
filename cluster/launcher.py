"""The JobLauncher port over the Ray Jobs API: all that the control plane knows of Ray."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode

import requests
from ray.exceptions import RayError
from ray.job_submission import JobStatus, JobSubmissionClient

from cluster.entry import driver_command, driver_environment, leave_token
from rlhf_service.errors import LauncherError, LauncherUnreachable
from rlhf_service.launching import (
    Capacity,
    Inventory,
    LaunchRequest,
    LaunchState,
    Submission,
)

Answer = TypeVar("Answer")

TIMEOUT = 8.0
LIMIT = 10_000
"""Most rows the state API gives; a fuller answer is 'unknown', never 'clean'."""

BROOM_SECONDS = 30
"""Leftovers of one job are swept at most this often."""

NAMED = re.compile(r"rlhf/(?P<job>[^/]+)/.+")
"""What a job's actors and placement groups are called."""

LIVE_ACTORS = frozenset({"ALIVE", "PENDING_CREATION", "DEPENDENCIES_UNREADY", "RESTARTING"})
LIVE_GROUPS = frozenset({"CREATED", "PENDING", "PREPARED", "RESCHEDULING"})

STATES = {
    JobStatus.PENDING: LaunchState.PENDING,
    JobStatus.RUNNING: LaunchState.RUNNING,
    JobStatus.STOPPED: LaunchState.ENDED,
    JobStatus.SUCCEEDED: LaunchState.ENDED,
    JobStatus.FAILED: LaunchState.ENDED,
}


class RayJobLauncher:
    """Submits drivers to the cluster whose dashboard answers at `address`.

    With token authentication on, the token is taken from the environment (RAY_AUTH_TOKEN or
    RAY_AUTH_TOKEN_PATH) by Ray's own client. `python` is the interpreter on the cluster's nodes.
    """

    def __init__(self, address: str, python: str = sys.executable) -> None:
        self._address, self._python = address.rstrip("/"), python
        self._client: JobSubmissionClient | None = None

    def submit(self, request: LaunchRequest) -> None:
        leave_token(request)
        command = driver_command(self._python, request)
        environment = driver_environment(request)
        metadata = {
            "job_name": request.job_name,
            "rlhf_job": request.job_id,
            "attempt": str(request.attempt),
            "rlhf_owner": request.owner,
        }
        self._send(request.submission_id, command, environment, metadata)

    def _send(
        self, submission: str, command: str, environment: dict[str, str], metadata: dict[str, str]
    ) -> None:
        """A Ray job of this name, unless there is one already."""

        def send(client: JobSubmissionClient) -> None:
            try:
                client.submit_job(
                    entrypoint=command,
                    submission_id=submission,
                    runtime_env={"env_vars": environment},
                    metadata=metadata,
                )
            except RuntimeError as fault:
                if f"{submission} already exists" not in str(fault):
                    raise

        self._call(send)

    def stop(self, submission_id: str) -> None:
        if self.state(submission_id) in (LaunchState.PENDING, LaunchState.RUNNING):
            self._call(lambda client: client.stop_job(submission_id))

    def state(self, submission_id: str) -> LaunchState:
        found = self._get(f"/api/jobs/{submission_id}", missing={})
        return STATES[JobStatus(found["status"])] if found else LaunchState.UNKNOWN

    def leftovers(self, job_id: str) -> list[str]:
        actors, groups = self._parts_of(job_id)
        return sorted([*map(actor_name, actors), *map(group_name, groups)])

    def remove(self, job_id: str) -> None:
        actors, groups = self._parts_of(job_id)
        if not actors and not groups:
            return
        # Ray has no call for it: a driver of its own removes exactly these.
        found = [f"--actor={a['actor_id']}" for a in actors]
        found += [f"--group={g['placement_group_id']}" for g in groups]
        command = shlex.join([self._python, "-m", "cluster.broom", "--job", job_id, *found])
        name = f"{job_id}-broom-{int(time.time()) // BROOM_SECONDS}"
        self._send(name, command, {}, {"rlhf_broom": job_id})

    def inventory(self) -> Inventory:
        submissions = [
            Submission(
                job_id=meta["rlhf_job"],
                attempt=int(meta["attempt"]),
                owner=meta.get("rlhf_owner", ""),
            )
            for job in self._get("/api/jobs/")
            if STATES[JobStatus(job["status"])] is not LaunchState.ENDED
            and (meta := job.get("metadata") or {}).keys() >= {"rlhf_job", "attempt"}
        ]
        parts: dict[str, list[str]] = {}
        alive = self._rows("actors", state="ALIVE")
        groups = [g for g in self._rows("placement_groups") if g["state"] in LIVE_GROUPS]
        for name in [*(row["name"] for row in alive), *(row["name"] for row in groups)]:
            if named := NAMED.fullmatch(name or ""):
                parts.setdefault(named["job"], []).append(named[0])
        return Inventory(submissions, parts)

    def _parts_of(self, job_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Live actors and placement groups of a job: by their Ray job, or by name."""
        attempts = re.compile(re.escape(job_id) + r"-a\d+")
        ray_jobs = {
            job["job_id"]
            for job in self._get("/api/jobs/")
            if job.get("job_id") and attempts.fullmatch(job.get("submission_id") or "")
        }
        prefix = f"rlhf/{job_id}/"
        # Asked for by Ray job: a cluster remembers every dead actor there was, up to 100,000.
        actors = {
            actor["actor_id"]: actor
            for rows in (
                *(self._rows("actors", job_id=ray_job) for ray_job in ray_jobs),
                # A detached one is listed under whichever Ray job made it.
                self._rows("actors", state="ALIVE"),
            )
            for actor in rows
            if actor["state"] in LIVE_ACTORS
            and not is_shared(actor)
            and (actor["job_id"] in ray_jobs or (actor["name"] or "").startswith(prefix))
        }
        groups = [
            group
            for group in self._rows("placement_groups")
            if group["state"] in LIVE_GROUPS
            and (group["creator_job_id"] in ray_jobs or (group["name"] or "").startswith(prefix))
        ]
        return list(actors.values()), groups

    def logs(self, submission_id: str) -> str:
        return self._call(lambda client: client.get_job_logs(submission_id))

    def capacity(self) -> Capacity:
        nodes = [node for node in self._rows("nodes") if node["state"] == "ALIVE"]
        totals = [node["resources_total"] for node in nodes]
        return Capacity(
            cpus=sum(total.get("CPU", 0.0) for total in totals),
            gpus=sum(total.get("GPU", 0.0) for total in totals),
        )

    def close(self) -> None:
        """Ray's client keeps nothing open."""

    def _rows(self, kind: str, **equal: str) -> list[dict[str, Any]]:
        """Rows of the state API whose columns equal these. Raises LauncherError rather than leave
        some out.
        """
        query = [("limit", str(LIMIT)), ("detail", "1")]
        for column, value in equal.items():
            query += [("filter_keys", column), ("filter_predicates", "="), ("filter_values", value)]
        answer = self._get(f"/api/v0/{kind}?{urlencode(query)}")["data"]["result"]
        rows: list[dict[str, Any]] = answer["result"]
        looked_at_all = answer["num_after_truncation"] >= answer["total"]
        if len(rows) < answer["num_filtered"] or not looked_at_all:
            raise LauncherError(f"Ray lists only {len(rows)} of {answer['total']} {kind}")
        if answer.get("partial_failure_warning"):
            raise LauncherError(f"Ray lists not all {kind}: {answer['partial_failure_warning']}")
        return rows

    def _get(self, path: str, missing: Any = None) -> Any:
        with translated(self._address):
            reply = self._connected()._do_request("GET", path)
            if reply.status_code == 404 and missing is not None:
                return missing
            if reply.status_code >= 400:
                raise LauncherError(f"Ray answered {reply.status_code} to GET {path.split('?')[0]}")
            return reply.json()

    def _call(self, work: Callable[[JobSubmissionClient], Answer]) -> Answer:
        with translated(self._address):
            return work(self._connected())

    def _connected(self) -> JobSubmissionClient:
        """The client; connecting checks the server's version, so it is made when first needed."""
        if self._client is None:
            self._client = PatientClient(self._address)
        return self._client


class PatientClient(JobSubmissionClient):
    """Ray's client, which by itself waits for ever on a dashboard that hangs."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        return super()._do_request(method, endpoint, **({"timeout": TIMEOUT} | options))


def actor_name(actor: dict[str, Any]) -> str:
    return actor["name"] or f"{actor['class_name']} {actor['actor_id']}"


def group_name(group: dict[str, Any]) -> str:
    return group["name"] or f"placement group {group['placement_group_id']}"


def is_shared(actor: dict[str, Any]) -> bool:
    """Ray Train's cluster-wide helpers are detached: started by a job, they outlive it by design."""
    return bool(actor.get("is_detached")) and not (actor["name"] or "").startswith("rlhf/")


def innermost(fault: BaseException) -> str:
    """What a failure began with, in few words: `Connection refused`."""
    while (cause := fault.__cause__ or fault.__context__) is not None:
        fault = cause
    return getattr(fault, "strerror", None) or str(fault) or type(fault).__name__


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Whatever goes wrong with the cluster as a LauncherError."""
    try:
        yield
    except (requests.RequestException, ConnectionError, OSError) as fault:
        raise LauncherUnreachable(
            f"the Ray cluster at {address} does not answer ({innermost(fault)})"
        ) from fault
    except (RayError, RuntimeError, ValueError, KeyError, TypeError) as fault:
        # Ray's text may be a traceback and a last line of one full stop.
        lines = [line for line in str(fault).splitlines() if line.strip(" .")] or [repr(fault)]
        # A traceback ends with what went wrong; advice on tokens begins with it.
        said = lines[0] if isinstance(fault, RayError) else lines[-1]
        raise LauncherError(f"the Ray cluster at {address} refused: {said}") from fault
