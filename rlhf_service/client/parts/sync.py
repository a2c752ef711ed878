"""Nouns of the synchronous client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import httpx

from rlhf_service.client.call import Call
from rlhf_service.client.calls import admin, drafts, files, jobs, keys, models, webhooks
from rlhf_service.client.fetch import Fetch, below, named
from rlhf_service.client.frames import ANSWER_TIMEOUT, Following, delta, refuse_answer
from rlhf_service.client.logs import LOG_SECONDS, LogReading
from rlhf_service.client.records import Job, SampleSet
from rlhf_service.client.records.admin import AuditEntry
from rlhf_service.client.retry import settled
from rlhf_service.events import StoredEvent

if TYPE_CHECKING:
    from rlhf_service.client.sync import Client

P = ParamSpec("P")
T = TypeVar("T")


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
    retry = sends(jobs.retry)
    clone = sends(jobs.clone)
    delete = sends(jobs.delete)
    pause = sends(jobs.pause)
    resume = sends(jobs.resume)
    metrics = sends(jobs.metrics)
    samples = sends(jobs.samples)
    log = sends(jobs.log)
    checkpoints = sends(jobs.checkpoints)
    artefacts = sends(jobs.artefacts)
    plan = sends(jobs.plan)
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
        """Fetch one of the job's files, into a folder under its own name; after a break only what is
        missing. Raises ApiError.
        """
        fetch = Fetch(jobs.artefact(job_id, path), named(Path(into), path), self._client.retry)
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
    register = sends(models.register)
    lineage = sends(models.lineage)
    chat = sends(models.chat)
    complete = sends(models.complete)
    permit = sends(models.permit)
    permissions = sends(models.permissions)
    forbid = sends(models.forbid)

    def stream_chat(
        self, model: str, messages: models.Messages | str, **sampling: Any
    ) -> Iterator[str]:
        """A model's answer piece by piece. Raises ApiError."""
        body = {"model": model, "messages": models.turns(messages), "stream": True, **sampling}
        return self._spoken(models.CHAT, body)

    def stream_complete(self, model: str, prompt: str, **sampling: Any) -> Iterator[str]:
        """What a model goes on with after a text, piece by piece. Raises ApiError."""
        body = {"model": model, "prompt": prompt, "stream": True, **sampling}
        return self._spoken(models.TEXT, body)

    def _spoken(self, path: str, body: dict[str, Any]) -> Iterator[str]:
        asked = {"json": body, "refuse": refuse_answer, "timeout": ANSWER_TIMEOUT}
        try:
            for line in self._client.lines("POST", path, **asked):
                if piece := delta(line):
                    yield piece
        except httpx.TransportError as fault:
            settled(fault, self._client.address)


class Files(Resource):
    """`/v1/files`."""

    upload = sends(files.upload)
    list = sends(files.listed)
    get = sends(files.get)
    content = sends(files.content)
    report = sends(files.report)
    delete = sends(files.delete)


class Keys(Resource):
    """`/v1/keys`."""

    create = sends(keys.create)
    list = sends(keys.listed)
    revoke = sends(keys.revoke)
    rotate = sends(keys.rotate)


class Drafts(Resource):
    """Jobs that are still to be submitted."""

    check = sends(drafts.check)
    plan = sends(drafts.plan)
    preflight = sends(drafts.preflight)
    recipes = sends(drafts.recipes)
    prepare = sends(drafts.prepare)
    validate_grader = sends(drafts.validate_grader)
    run_grader = sends(drafts.run_grader)


class Quotas(Resource):
    """`/v1/quotas`."""

    list = sends(admin.quotas)
    get = sends(admin.quota)
    set = sends(admin.set_quota)
    reset = sends(admin.reset_quota)


class Audit(Resource):
    """`/v1/audit`."""

    list = sends(admin.audit)

    def each(self, **filters: Any) -> Iterator[AuditEntry]:
        """Every entry, newest first; filters as those of `list`."""
        return self._client.each(admin.audit(**filters))


class Webhooks(Resource):
    """`/v1/webhooks`."""

    create = sends(webhooks.create)
    list = sends(webhooks.listed)
    get = sends(webhooks.get)
    delete = sends(webhooks.delete)
    deliveries = sends(webhooks.deliveries)
    redeliver = sends(webhooks.redeliver)
