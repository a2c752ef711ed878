"""Python client of the REST API.

with Client("http://127.0.0.1:8000", api_key) as client:
    job = client.jobs.create(spec)
    for event in client.jobs.stream(job.id):
        ...
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict

from rlhf_service.events import StoredEvent
from rlhf_service.job import JobStatus, StopReason
from rlhf_service.reports import StepReport
from rlhf_service.spec import JobSpec

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
STREAM_SILENCE = 60.0
"""Seconds without even a heartbeat after which a stream is opened anew."""
STREAM_FAILURES = 20
"""Tries in a row without a single frame after which a stream is given up."""


class ApiError(Exception):
    """The service refused a request, or could not be reached."""

    def __init__(self, message: str, status: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; None when there was no answer."""
        self.field = field
        """What the refusal is about, as a dotted path."""


class Record(BaseModel):
    """An answer of the service; fields this client does not know are kept, not refused."""

    model_config = ConfigDict(extra="allow", frozen=True)


class JobProgress(Record):
    """How far the current stage is."""

    stage: str | None
    step: int
    steps: int
    eta_seconds: float | None
    metrics: dict[str, Any] | None


class Job(Record):
    """A job as the service sees it."""

    id: str
    name: str
    status: JobStatus
    reason: StopReason | None
    message: str
    progress: JobProgress
    created_at: str
    finished_at: str | None
    result: dict[str, Any] | None


class StepPoint(Record):
    """The newest report of one step."""

    stage: str
    step: int
    steps: int
    replayed: bool
    report: StepReport


class Model(Record):
    """A finished job's model."""

    id: str


class Client:
    """Synchronous client. Retries what is safe to retry; a submission carries its own key."""

    def __init__(self, url: str, api_key: str, timeout: float = 30.0) -> None:
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=timeout,
        )
        self.jobs = Jobs(self)
        self.models = Models(self)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> Any:
        """JSON answer. Raises ApiError."""
        return answer(self._reply(method, path, **options))

    def text(self, path: str) -> str:
        """What stands at `path`. Raises ApiError."""
        reply = self._reply("GET", path)
        if reply.status_code >= 400:
            answer(reply)
        return reply.text

    def _reply(self, method: str, path: str, **options: Any) -> httpx.Response:
        for pause in (*RETRY_SECONDS, None):
            try:
                reply = self._http.request(method, path, **options)
            except httpx.TransportError as fault:
                if pause is None:
                    raise ApiError(f"{self._http.base_url} does not answer: {fault}") from None
            else:
                if reply.status_code not in RETRIED_STATUSES or pause is None:
                    return reply
            time.sleep(pause or 0)
        raise AssertionError("the last try returns or raises")

    def lines(self, path: str, headers: dict[str, str]) -> Iterator[str]:
        """Lines of a stream, as they come. Raises ApiError on a refusal; httpx.TransportError on a
        break, or when the service says that it cannot answer just now.
        """
        timeout = httpx.Timeout(30.0, read=STREAM_SILENCE)
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as reply:
            if reply.status_code in RETRIED_STATUSES:
                raise httpx.RemoteProtocolError(f"HTTP {reply.status_code}", request=reply.request)
            if reply.status_code >= 400:
                reply.read()
                answer(reply)
            yield from reply.iter_lines()


class Jobs:
    """`/v1/jobs`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, spec: JobSpec | dict[str, Any], idempotency_key: str | None = None) -> Job:
        """Submit a job. Retrying inside makes no second one."""
        body = spec.model_dump(mode="json") if isinstance(spec, JobSpec) else spec
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return Job.model_validate(
            self._client.request("POST", "/v1/jobs", json=body, headers=headers)
        )

    def get(self, job_id: str) -> Job:
        return Job.model_validate(self._client.request("GET", f"/v1/jobs/{job_id}"))

    def list(self, *, limit: int = 20, status: JobStatus | None = None) -> list[Job]:
        """Newest first."""
        query = {"limit": limit} | ({"status": status.value} if status else {})
        found = self._client.request("GET", "/v1/jobs", params=query)
        return [Job.model_validate(item) for item in found["data"]]

    def cancel(self, job_id: str) -> Job:
        return self._act(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        return self._act(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        return self._act(job_id, "resume")

    def events(self, job_id: str, after: int = 0, limit: int = 100) -> Iterator[StoredEvent]:
        """Every event stored so far, behind `after`."""
        while True:
            query = {"after": after, "limit": limit}
            page = self._client.request("GET", f"/v1/jobs/{job_id}/events", params=query)
            for item in page["data"]:
                event = StoredEvent.model_validate(item)
                after = event.seq
                yield event
            if not page["has_more"]:
                return

    def stream(self, job_id: str, after: int = 0) -> Iterator[StoredEvent]:
        """Every event as it happens, until the job ends; reconnects by itself, skips none."""
        failures, broken = 0, "it ends without a word"
        while True:
            told = False
            try:
                for kind, data in self._frames(job_id, after):
                    failures, told = 0, True
                    if kind == "end":
                        return
                    # After `reset` the service goes on by itself, from the log's beginning.
                    if kind not in ("reset", "reconnect"):
                        event = StoredEvent.model_validate_json(data)
                        after = event.seq
                        yield event
            except httpx.TransportError as fault:
                told, broken = False, str(fault)
            if not told:
                if failures >= STREAM_FAILURES:
                    raise ApiError(f"the stream of {job_id} broke: {broken}")
                time.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1

    def metrics(self, job_id: str, stage: str | None = None) -> Sequence[StepPoint]:
        """The newest report of every step, in order."""
        query = {"stage": stage} if stage else {}
        found = self._client.request("GET", f"/v1/jobs/{job_id}/metrics", params=query)
        return [StepPoint.model_validate(item) for item in found["data"]]

    def logs(self, job_id: str) -> str:
        """What the newest attempt's driver printed."""
        return str(self._client.request("GET", f"/v1/jobs/{job_id}/logs")["text"])

    def report(self, job_id: str) -> dict[str, Any]:
        """What each stage did and changed; of a running job, so far."""
        found: dict[str, Any] = self._client.request("GET", f"/v1/jobs/{job_id}/report.json")
        return found

    def report_page(self, job_id: str) -> str:
        """The same as one self-contained HTML page."""
        return self._client.text(f"/v1/jobs/{job_id}/report.html")

    def _act(self, job_id: str, verb: str) -> Job:
        return Job.model_validate(self._client.request("POST", f"/v1/jobs/{job_id}/{verb}"))

    def _frames(self, job_id: str, after: int) -> Iterator[tuple[str, str]]:
        """(event, data) of each server-sent frame."""
        kind, data = "message", ""
        headers = {"Last-Event-ID": str(after)}
        for line in self._client.lines(f"/v1/jobs/{job_id}/stream", headers):
            if line.startswith("event:"):
                kind = line[6:].strip()
            elif line.startswith("data:"):
                data += line[5:].strip()
            elif not line and (data or kind != "message"):
                yield kind, data
                kind, data = "message", ""


class Models:
    """`/v1/models`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[Model]:
        found = self._client.request("GET", "/v1/models")
        return [Model.model_validate(item) for item in found["data"]]

    def get(self, model_id: str) -> Model:
        return Model.model_validate(self._client.request("GET", f"/v1/models/{model_id}"))


def answer(reply: httpx.Response) -> Any:
    """The JSON body. Raises ApiError for a refusal."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    if reply.status_code < 400:
        if not isinstance(body, dict):
            raise ApiError(f"{reply.url} is not this service's; check RLHF_URL", reply.status_code)
        return body
    body = body if isinstance(body, dict) else {}
    error = body.get("error")
    error = error if isinstance(error, dict) else {}
    message = body.get("detail") or error.get("message") or f"HTTP {reply.status_code}"
    raise ApiError(str(message), reply.status_code, error.get("param"))
