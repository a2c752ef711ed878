"""Nouns of the asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
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
    from rlhf_service.client.aio import AsyncClient

P = ParamSpec("P")
T = TypeVar("T")


class AsyncResource:
    """A part of the API; holds the client that carries its calls."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client


def awaits(
    build: Callable[P, Call[T]],
) -> Callable[Concatenate[AsyncResource, P], Coroutine[Any, Any, T]]:
    """A coroutine method that does what `build` describes."""

    @wraps(build)
    async def method(self: AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._client.send(build(*args, **kwargs))

    return method


class AsyncJobs(AsyncResource):
    """`/v1/jobs`."""

    create = awaits(jobs.create)
    get = awaits(jobs.get)
    list = awaits(jobs.listed)
    cancel = awaits(jobs.cancel)
    retry = awaits(jobs.retry)
    clone = awaits(jobs.clone)
    delete = awaits(jobs.delete)
    pause = awaits(jobs.pause)
    resume = awaits(jobs.resume)
    metrics = awaits(jobs.metrics)
    samples = awaits(jobs.samples)
    log = awaits(jobs.log)
    checkpoints = awaits(jobs.checkpoints)
    artefacts = awaits(jobs.artefacts)
    plan = awaits(jobs.plan)
    report = awaits(jobs.report)
    report_page = awaits(jobs.report_page)

    def each(self, **filters: Any) -> AsyncIterator[Job]:
        """Every job, newest first; filters as those of `list`."""
        return self._client.each(jobs.listed(**{"limit": 100, **filters}))

    def events(self, job_id: str, after: int = 0, limit: int = 100) -> AsyncIterator[StoredEvent]:
        """Every event stored so far, behind `after`."""
        return self._client.each(jobs.events(job_id, after, limit))

    def every_sample(self, job_id: str) -> AsyncIterator[SampleSet]:
        """All responses shown during the job, in order."""
        return self._client.each(jobs.samples(job_id))

    async def logs(self, job_id: str, attempt: int | None = None) -> str:
        """What an attempt's driver printed; the newest's when none is named."""
        return (await self.log(job_id, attempt)).text

    async def follow_log(
        self, job_id: str, attempt: int | None = None, tail: int | None = None
    ) -> AsyncIterator[str]:
        """What the driver prints, as it prints it, until the job ends; the last `tail` lines first."""
        reading = LogReading(job_id, attempt, tail)
        while True:
            # Before the look: what is printed last is still to be read.
            over = (await self.get(job_id)).status.is_terminal
            if piece := reading.take(await self._client.send(reading.call())):
                yield piece
            if reading.behind:
                continue
            if over:
                return
            await asyncio.sleep(LOG_SECONDS)

    async def download(self, job_id: str, path: str, into: Path | str) -> Path:
        """Fetch one of the job's files, into a folder under its own name; after a break only what is
        missing. Raises ApiError.
        """
        fetch = Fetch(jobs.artefact(job_id, path), named(Path(into), path), self._client.retry)
        while not fetch.done:
            try:
                async with self._client.stream("GET", fetch.path, headers=fetch.headers()) as reply:
                    with fetch.begin(reply) as file:
                        async for piece in reply.aiter_bytes():
                            file.write(piece)
                fetch.end()
            except httpx.TransportError as fault:
                await asyncio.sleep(fetch.broken(fault))
        return fetch.into

    async def download_all(
        self, job_id: str, folder: Path | str, path: str = ""
    ) -> AsyncIterator[Path]:
        """Fetch the job's files, or those below `path`, into `folder`; each is told when it is there."""
        async for found in self._client.each(jobs.artefacts(job_id, path)):
            yield await self.download(job_id, found.path, below(Path(folder), found.path))

    async def stream(self, job_id: str, after: int = 0) -> AsyncIterator[StoredEvent]:
        """Every event as it happens, until the job ends; reconnects by itself, skips none."""
        following = Following(job_id, after, self._client.retry)
        while not following.over:
            path, headers = following.opened()
            broken = None
            try:
                async with aclosing(self._client.lines("GET", path, headers=headers)) as lines:
                    async for line in lines:
                        if (event := following.take(line)) is not None:
                            yield event
                        if following.over:
                            return
            except httpx.TransportError as fault:
                broken = fault
            await asyncio.sleep(following.closed(broken))

    async def wait(self, job_id: str) -> Job:
        """The job, once it has ended."""
        async for _ in self.stream(job_id):
            pass
        return await self.get(job_id)


class AsyncModels(AsyncResource):
    """`/v1/models`, and answers of them."""

    list = awaits(models.listed)
    get = awaits(models.get)
    delete = awaits(models.delete)
    register = awaits(models.register)
    lineage = awaits(models.lineage)
    chat = awaits(models.chat)
    complete = awaits(models.complete)
    permit = awaits(models.permit)
    permissions = awaits(models.permissions)
    forbid = awaits(models.forbid)

    def stream_chat(
        self, model: str, messages: models.Messages | str, **sampling: Any
    ) -> AsyncIterator[str]:
        """A model's answer piece by piece. Raises ApiError."""
        body = {"model": model, "messages": models.turns(messages), "stream": True, **sampling}
        return self._spoken(models.CHAT, body)

    def stream_complete(self, model: str, prompt: str, **sampling: Any) -> AsyncIterator[str]:
        """What a model goes on with after a text, piece by piece. Raises ApiError."""
        body = {"model": model, "prompt": prompt, "stream": True, **sampling}
        return self._spoken(models.TEXT, body)

    async def _spoken(self, path: str, body: dict[str, Any]) -> AsyncIterator[str]:
        asked = {"json": body, "refuse": refuse_answer, "timeout": ANSWER_TIMEOUT}
        try:
            async with aclosing(self._client.lines("POST", path, **asked)) as lines:
                async for line in lines:
                    if piece := delta(line):
                        yield piece
        except httpx.TransportError as fault:
            settled(fault, self._client.address)


class AsyncFiles(AsyncResource):
    """`/v1/files`."""

    upload = awaits(files.upload)
    list = awaits(files.listed)
    get = awaits(files.get)
    content = awaits(files.content)
    report = awaits(files.report)
    delete = awaits(files.delete)


class AsyncKeys(AsyncResource):
    """`/v1/keys`."""

    create = awaits(keys.create)
    list = awaits(keys.listed)
    revoke = awaits(keys.revoke)
    rotate = awaits(keys.rotate)


class AsyncDrafts(AsyncResource):
    """Jobs that are still to be submitted."""

    check = awaits(drafts.check)
    plan = awaits(drafts.plan)
    preflight = awaits(drafts.preflight)
    recipes = awaits(drafts.recipes)
    prepare = awaits(drafts.prepare)
    validate_grader = awaits(drafts.validate_grader)
    run_grader = awaits(drafts.run_grader)


class AsyncQuotas(AsyncResource):
    """`/v1/quotas`."""

    list = awaits(admin.quotas)
    get = awaits(admin.quota)
    set = awaits(admin.set_quota)
    reset = awaits(admin.reset_quota)


class AsyncAudit(AsyncResource):
    """`/v1/audit`."""

    list = awaits(admin.audit)

    def each(self, **filters: Any) -> AsyncIterator[AuditEntry]:
        """Every entry, newest first; filters as those of `list`."""
        return self._client.each(admin.audit(**filters))


class AsyncWebhooks(AsyncResource):
    """`/v1/webhooks`."""

    create = awaits(webhooks.create)
    list = awaits(webhooks.listed)
    get = awaits(webhooks.get)
    delete = awaits(webhooks.delete)
    deliveries = awaits(webhooks.deliveries)
    redeliver = awaits(webhooks.redeliver)
