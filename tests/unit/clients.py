"""Both clients under one test: whatever holds for one holds for the other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx

from rlhf_service.client import AsyncClient, Client, Retry

AT_ONCE = Retry(tries=3, first=0.0, most=0.0)
Reply: TypeAlias = httpx.Response | Exception


@dataclass(slots=True)
class Asked:
    """A service whose n-th answer is the n-th reply, and the last one from then on."""

    replies: list[Callable[[], Reply]]
    requests: list[httpx.Request] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        reply = self.replies[min(len(self.requests), len(self.replies)) - 1]()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def answer_later(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self.answer(
            httpx.Request(
                request.method, request.url, headers=request.headers, content=request.content
            )
        )


@dataclass(slots=True)
class Either:
    """Does with the synchronous or the asynchronous client what it is told."""

    asynchronous: bool
    retry: Retry = AT_ONCE

    def do(self, asked: Asked, action: Callable[[Any], Any]) -> Any:
        """The result of `action(client)`; a list of everything when that is a stream."""
        if self.asynchronous:
            return asyncio.run(self._later(asked, action))
        transport = httpx.MockTransport(asked.answer)
        with Client("http://service", "key", transport=transport, retry=self.retry) as client:
            result = action(client)
            return list(result) if inspect.isgenerator(result) else result

    async def _later(self, asked: Asked, action: Callable[[Any], Any]) -> Any:
        transport = httpx.MockTransport(asked.answer_later)
        async with AsyncClient(
            "http://service", "key", transport=transport, retry=self.retry
        ) as client:
            result = action(client)
            if inspect.isasyncgen(result):
                return [item async for item in result]
            return await result


def says(*replies: httpx.Response) -> Asked:
    return Asked([lambda reply=reply: again(reply) for reply in replies])


def again(reply: httpx.Response) -> httpx.Response:
    """A reply can be given once only."""
    return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
