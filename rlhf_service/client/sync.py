"""The synchronous client: carries what `calls` describes with httpx.Client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx
from pydantic import BaseModel

from rlhf_service.client.address import Address, find_address
from rlhf_service.client.call import Call, plain
from rlhf_service.client.calls import drafts, files, jobs, keys, models
from rlhf_service.client.calls.health import READYZ, read_readiness
from rlhf_service.client.fetch import Fetch, below
from rlhf_service.client.frames import STREAM_TIMEOUT, Following, delta, refuse_stream
from rlhf_service.client.logs import LOG_SECONDS, LogReading
from rlhf_service.client.paging import Page, next_part
from rlhf_service.client.records import Job, Readiness, SampleSet
from rlhf_service.client.retry import Outcome, Retry, Trial, settled
from rlhf_service.events import StoredEvent

P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)


class Client:
    """Sends requests again where that is safe, with growing pauses; close it, or use it in `with`."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Without address or key: RLHF_URL and RLHF_API_KEY, the service that runs in this folder, or
        what `rlhf login` kept. Raises RlhfError when none of these says.
        """
        self.address = Address(url, api_key) if url and api_key else find_address(url, api_key)
        self.retry = retry or Retry()
        self._http = httpx.Client(
            base_url=self.address.url,
            headers={"Authorization": f"Bearer {self.address.api_key}"},
            timeout=timeout,
            transport=transport,
        )
        self.jobs = Jobs(self)
        self.models = Models(self)
        self.files = Files(self)
        self.keys = Keys(self)
        self.drafts = Drafts(self)

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

    def send(self, call: Call[T]) -> T:
        """Do what `call` describes. Raises ApiError."""
        trial = Trial(self.retry, call.repeatable)
        while (pause := trial.wait(outcome := self._try(call))) is not None:
            time.sleep(pause)
        return call.read(settled(outcome, self.address), self.address)

    def readiness(self) -> Readiness:
        """What the service says of itself, also when it is not ready. Raises ApiError."""
        return read_readiness(self._try(READYZ), self.address)

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Any request to the API: its JSON object. Raises ApiError."""
        return self.send(Call(method, path, plain, **options))

    def pages(self, call: Call[Page[B]]) -> Iterator[Page[B]]:
        """A list part by part."""
        following: Call[Page[B]] | None = call
        while following is not None:
            found = self.send(following)
            yield found
            following = next_part(following, found)

    def each(self, call: Call[Page[B]]) -> Iterator[B]:
        """Everything in a list."""
        for found in self.pages(call):
            yield from found

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """An answer to be read as it comes. Raises ApiError on a refusal; httpx.TransportError on a
        break, or when the service says that it cannot answer just now.
        """
        with self._http.stream(method, path, timeout=STREAM_TIMEOUT, **options) as reply:
            if reply.status_code >= 400:
                reply.read()
                refuse_stream(reply)
            yield reply

    def lines(self, method: str, path: str, **options: Any) -> Iterator[str]:
        """Its lines."""
        with self.stream(method, path, **options) as reply:
            yield from reply.iter_lines()

    def _try(self, call: Call[Any]) -> Outcome:
        try:
            return self._http.request(call.method, call.path, **call.options())
        except httpx.TransportError as fault:
            return fault


class Resource:
    """A part of the API; holds the client that carries its calls."""

    def __init__(self, client: Client) -> None:
        self._client = client


def sends(build: Callable[P, Call[T]]) -> Callable[Concatenate[Resource, P], T]:
    """A method that does what `build` describes."""

    @wraps(build)
    def method(self: Resource, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._client.send(build(*args, **kwargs))

    return method


class Jobs(Resource):
    """`/v1/jobs`."""

    create = sends(jobs.create)
    get = sends(jobs.get)
    list = sends(jobs.listed)
    cancel = sends(jobs.cancel)
    pause = sends(jobs.pause)
    resume = sends(jobs.resume)
    metrics = sends(jobs.metrics)
    samples = sends(jobs.samples)
    log = sends(jobs.log)
    checkpoints = sends(jobs.checkpoints)
    artefacts = sends(jobs.artefacts)
    report = sends(jobs.report)
    report_page = sends(jobs.report_page)

    def each(self, **filters: Any) -> Iterator[Job]:
        """Every job, newest first; filters as those of `list`."""
        return self._client.each(jobs.listed(**{"limit": 100, **filters}))

    def events(self, job_id: str, after: int = 0, limit: int = 100) -> Iterator[StoredEvent]:
        """Every event stored so far, behind `after`."""
        return self._client.each(jobs.events(job_id, after, limit))

    def every_sample(self, job_id: str) -> Iterator[SampleSet]:
        """All responses shown during the job, in order."""
        return self._client.each(jobs.samples(job_id))

    def logs(self, job_id: str, attempt: int | None = None) -> str:
        """What an attempt's driver printed; the newest's when none is named."""
        return self.log(job_id, attempt).text

    def follow_log(
        self, job_id: str, attempt: int | None = None, tail: int | None = None
    ) -> Iterator[str]:
        """What the driver prints, as it prints it, until the job ends; the last `tail` lines first."""
        reading = LogReading(job_id, attempt, tail)
        while True:
            # Before the look: what is printed last is still to be read.
            over = (self.get(job_id)).status.is_terminal
            if piece := reading.take(self._client.send(reading.call())):
                yield piece
            if reading.behind:
                continue
            if over:
                return
            time.sleep(LOG_SECONDS)

    def download(self, job_id: str, path: str, into: Path | str) -> Path:
        """Fetch one of the job's files; after a break only what is missing. Raises ApiError."""
        fetch = Fetch(jobs.artefact(job_id, path), Path(into), self._client.retry)
        while not fetch.done:
            try:
                with self._client.stream("GET", fetch.path, headers=fetch.headers()) as reply:
                    with fetch.begin(reply) as file:
                        for piece in reply.iter_bytes():
                            file.write(piece)
                fetch.end()
            except httpx.TransportError as fault:
                time.sleep(fetch.broken(fault))
        return fetch.into

    def download_all(self, job_id: str, folder: Path | str, path: str = "") -> Iterator[Path]:
        """Fetch the job's files, or those below `path`, into `folder`; each is told when it is there."""
        for found in self._client.each(jobs.artefacts(job_id, path)):
            yield self.download(job_id, found.path, below(Path(folder), found.path))

    def stream(self, job_id: str, after: int = 0) -> Iterator[StoredEvent]:
        """Every event as it happens, until the job ends; reconnects by itself, skips none."""
        following = Following(job_id, after, self._client.retry)
        while not following.over:
            path, headers = following.opened()
            broken = None
            try:
                for line in self._client.lines("GET", path, headers=headers):
                    if (event := following.take(line)) is not None:
                        yield event
                    if following.over:
                        return
            except httpx.TransportError as fault:
                broken = fault
            time.sleep(following.closed(broken))

    def wait(self, job_id: str) -> Job:
        """The job, once it has ended."""
        for _ in self.stream(job_id):
            pass
        return self.get(job_id)


class Models(Resource):
    """`/v1/models`, and answers of them."""

    list = sends(models.listed)
    get = sends(models.get)
    delete = sends(models.delete)
    chat = sends(models.chat)
    complete = sends(models.complete)

    def stream_chat(
        self, model: str, messages: models.Messages | str, **sampling: Any
    ) -> Iterator[str]:
        """A model's answer piece by piece."""
        body = {"model": model, "messages": models.turns(messages), "stream": True, **sampling}
        for line in self._client.lines("POST", "/v1/chat/completions", json=body):
            if piece := delta(line):
                yield piece


class Files(Resource):
    """`/v1/files`."""

    upload = sends(files.upload)
    list = sends(files.listed)
    get = sends(files.get)
    content = sends(files.content)
    delete = sends(files.delete)


class Keys(Resource):
    """`/v1/keys`."""

    create = sends(keys.create)
    list = sends(keys.listed)
    revoke = sends(keys.revoke)


class Drafts(Resource):
    """Jobs that are still to be submitted."""

    check = sends(drafts.check)
    recipes = sends(drafts.recipes)
    prepare = sends(drafts.prepare)
    validate_grader = sends(drafts.validate_grader)
    run_grader = sends(drafts.run_grader)
