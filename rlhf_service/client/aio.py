"""The asynchronous client: carries what `calls` describes with httpx.AsyncClient."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from rlhf_service.client.address import Address, find_address
from rlhf_service.client.call import Call, plain
from rlhf_service.client.calls import keys
from rlhf_service.client.calls.health import READYZ, read_readiness
from rlhf_service.client.frames import STREAM_TIMEOUT, refuse_stream
from rlhf_service.client.paging import Page, next_part
from rlhf_service.client.parts.aio import (
    AsyncAudit,
    AsyncDrafts,
    AsyncFiles,
    AsyncJobs,
    AsyncKeys,
    AsyncModels,
    AsyncQuotas,
    AsyncWebhooks,
)
from rlhf_service.client.records.admin import Caller, Readiness
from rlhf_service.client.retry import Outcome, Retry, Trial, settled

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
        self.quotas = AsyncQuotas(self)
        self.audit = AsyncAudit(self)
        self.webhooks = AsyncWebhooks(self)

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

    async def me(self) -> Caller:
        """Whom the service takes this client to be."""
        return await self.send(keys.ME)

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
    async def stream(
        self,
        method: str,
        path: str,
        *,
        refuse: Callable[[httpx.Response], None] = refuse_stream,
        timeout: httpx.Timeout = STREAM_TIMEOUT,
        **options: Any,
    ) -> AsyncIterator[httpx.Response]:
        """An answer to be read as it comes. Raises ApiError on a refusal; httpx.TransportError on a
        break, or when the service says that it cannot answer just now.
        """
        async with self._http.stream(method, path, timeout=timeout, **options) as reply:
            if reply.status_code >= 400:
                await reply.aread()
                refuse(reply)
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
