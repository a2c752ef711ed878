"""The asynchronous client: carries what `calls` describes with httpx.AsyncClient."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
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


class AsyncClient:
    """As `Client`, to be awaited."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Address and key are found as `Client` finds them. Raises RlhfError."""
        self.address = Address(url, api_key) if url and api_key else find_address(url, api_key)
        self.retry = retry or Retry()
        self._http = httpx.AsyncClient(
            base_url=self.address.url,
            headers={"Authorization": f"Bearer {self.address.api_key}"},
            timeout=timeout,
            transport=transport,
        )
        self.jobs = AsyncJobs(self)
        self.models = AsyncModels(self)
        self.files = AsyncFiles(self)
        self.keys = AsyncKeys(self)
        self.drafts = AsyncDrafts(self)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Do what `call` describes. Raises ApiError."""
        trial = Trial(self.retry, call.repeatable)
        while (pause := trial.wait(outcome := await self._try(call))) is not None:
            await asyncio.sleep(pause)
        return call.read(settled(outcome, self.address), self.address)

    async def readiness(self) -> Readiness:
        """What the service says of itself, also when it is not ready. Raises ApiError."""
        return read_readiness(await self._try(READYZ), self.address)

    async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Any request to the API: its JSON object. Raises ApiError."""
        return await self.send(Call(method, path, plain, **options))

    async def pages(self, call: Call[Page[B]]) -> AsyncIterator[Page[B]]:
        """A list part by part."""
        following: Call[Page[B]] | None = call
        while following is not None:
            found = await self.send(following)
            yield found
            following = next_part(following, found)

    async def each(self, call: Call[Page[B]]) -> AsyncIterator[B]:
        """Everything in a list."""
        async for found in self.pages(call):
            for item in found:
                yield item

    @asynccontextmanager
    async def stream(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        """An answer to be read as it comes. Raises ApiError on a refusal; httpx.TransportError on a
        break, or when the service says that it cannot answer just now.
        """
        async with self._http.stream(method, path, timeout=STREAM_TIMEOUT, **options) as reply:
            if reply.status_code >= 400:
                await reply.aread()
                refuse_stream(reply)
            yield reply

    async def lines(self, method: str, path: str, **options: Any) -> AsyncGenerator[str]:
        """Its lines."""
        async with self.stream(method, path, **options) as reply:
            async for line in reply.aiter_lines():
                yield line

    async def _try(self, call: Call[Any]) -> Outcome:
        try:
            return await self._http.request(call.method, call.path, **call.options())
        except httpx.TransportError as fault:
            return fault


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
    pause = awaits(jobs.pause)
    resume = awaits(jobs.resume)
    metrics = awaits(jobs.metrics)
    samples = awaits(jobs.samples)
    log = awaits(jobs.log)
    checkpoints = awaits(jobs.checkpoints)
    artefacts = awaits(jobs.artefacts)
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
        """Fetch one of the job's files; after a break only what is missing. Raises ApiError."""
        fetch = Fetch(jobs.artefact(job_id, path), Path(into), self._client.retry)
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
    chat = awaits(models.chat)
    complete = awaits(models.complete)

    async def stream_chat(
        self, model: str, messages: models.Messages | str, **sampling: Any
    ) -> AsyncIterator[str]:
        """A model's answer piece by piece."""
        body = {"model": model, "messages": models.turns(messages), "stream": True, **sampling}
        async with aclosing(self._client.lines("POST", "/v1/chat/completions", json=body)) as lines:
            async for line in lines:
                if piece := delta(line):
                    yield piece


class AsyncFiles(AsyncResource):
    """`/v1/files`."""

    upload = awaits(files.upload)
    list = awaits(files.listed)
    get = awaits(files.get)
    content = awaits(files.content)
    delete = awaits(files.delete)


class AsyncKeys(AsyncResource):
    """`/v1/keys`."""

    create = awaits(keys.create)
    list = awaits(keys.listed)
    revoke = awaits(keys.revoke)


class AsyncDrafts(AsyncResource):
    """Jobs that are still to be submitted."""

    check = awaits(drafts.check)
    recipes = awaits(drafts.recipes)
    prepare = awaits(drafts.prepare)
    validate_grader = awaits(drafts.validate_grader)
    run_grader = awaits(drafts.run_grader)
