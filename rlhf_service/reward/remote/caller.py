"""Many POSTs to one URL: bounded, retried, guarded by a circuit breaker, and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

import httpx

from rlhf_service.reward.remote.address import AddressRefused, Destination, Resolver, resolve
from rlhf_service.reward.remote.breaker import CircuitBreaker
from rlhf_service.reward.remote.fault import RemoteFault
from rlhf_service.reward.remote.retry import TryAgain, backoff, retry_after
from rlhf_service.reward.remote.transport import PinnedTransport
from rlhf_service.spec.judges import RemoteCalls

Answer = TypeVar("Answer")

CONNECT_SECONDS = 5.0
QUOTED = 200
"""Characters of a refusal's body that a failure's message quotes."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One request."""

    body: bytes
    """JSON."""
    read: Callable[[bytes], Answer]
    """What the answer's bytes say. Raises RemoteFault."""


def freely() -> None:
    """No cap on requests."""


class Caller:
    """Calls one URL. Connections live as long as one `call_all`."""

    def __init__(
        self,
        url: str,
        destination: Destination,
        calls: RemoteCalls,
        secrets: Mapping[str, str],
        *,
        before: Callable[[], None] = freely,
        resolver: Resolver = resolve,
    ) -> None:
        """`secrets` are headers; `before` runs before each attempt and may raise RemoteFault."""
        self._url, self._destination, self._calls = url, destination, calls
        self._secrets, self._before, self._resolver = dict(secrets), before, resolver
        self._breaker = CircuitBreaker(calls.breaker_failures, calls.breaker_seconds)

    def call_all(self, calls: Sequence[Call[Answer]]) -> list[Answer | RemoteFault]:
        """One answer or fault for each call, in order, within the deadline."""
        return asyncio.run(self._all(calls)) if calls else []

    async def _all(self, calls: Sequence[Call[Answer]]) -> list[Answer | RemoteFault]:
        room = asyncio.Semaphore(self._calls.max_concurrency)
        async with self._client() as client:

            async def one(call: Call[Answer]) -> Answer | RemoteFault:
                async with room:
                    try:
                        return call.read(await self._call(client, call.body))
                    except RemoteFault as fault:
                        return fault

            tasks = [asyncio.create_task(one(call)) for call in calls]
            _, late = await asyncio.wait(tasks, timeout=self._calls.deadline)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        message = f"no answer within the batch's deadline of {self._calls.deadline:g} s"
        return [RemoteFault("timeout", message) if t.cancelled() else t.result() for t in tasks]

    def _client(self) -> httpx.AsyncClient:
        calls = self._calls
        return httpx.AsyncClient(
            transport=PinnedTransport(self._destination, self._resolver, calls.max_concurrency),
            timeout=httpx.Timeout(calls.timeout, connect=min(calls.timeout, CONNECT_SECONDS)),
            headers={
                **self._secrets,
                "Content-Type": "application/json",
                # A compressed answer could be small on the wire and huge in memory.
                "Accept-Encoding": "identity",
                "User-Agent": "rlhf-service",
            },
            follow_redirects=False,
            trust_env=False,
        )

    async def _call(self, client: httpx.AsyncClient, body: bytes) -> bytes:
        for attempt in count():
            if not self._breaker.admits():
                raise RemoteFault("unavailable", self._about("fails; the circuit is open"))
            self._before()
            try:
                answer = await self._attempt(client, body)
            except TryAgain as fault:
                if fault.counts:
                    self._breaker.failed()
                wait = backoff(attempt) if fault.after is None else fault.after
                if attempt == self._calls.retries or wait > self._calls.deadline:
                    asked = f"; it asks to wait {wait:g} s" if fault.after is not None else ""
                    message = f"{fault}, attempt {attempt + 1}{asked}"
                    raise RemoteFault("unavailable", self._about(message)) from None
                await asyncio.sleep(wait)
            except RemoteFault as fault:
                if fault.kind == "timeout":
                    self._breaker.failed()
                else:
                    self._breaker.succeeded()
                raise
            else:
                self._breaker.succeeded()
                return answer
        raise AssertionError("unreachable")

    async def _attempt(self, client: httpx.AsyncClient, body: bytes) -> bytes:
        """Raises TryAgain or RemoteFault."""
        seconds = self._calls.timeout
        try:
            async with (
                asyncio.timeout(seconds),
                client.stream("POST", self._url, content=body) as reply,
            ):
                return await self._read(reply)
        except AddressRefused as fault:
            raise RemoteFault("refused", str(fault)) from None
        except httpx.ConnectTimeout:
            raise TryAgain("cannot be connected to in time") from None
        except (TimeoutError, httpx.TimeoutException):
            raise RemoteFault("timeout", self._about(f"gave no answer in {seconds:g} s")) from None
        except httpx.TransportError as fault:
            said = f": {fault}" if str(fault) else ""
            raise TryAgain(f"cannot be reached ({type(fault).__name__}{said})") from None

    async def _read(self, reply: httpx.Response) -> bytes:
        status = reply.status_code
        if status == 429 or status >= 500:
            after = retry_after(reply.headers.get("retry-after"))
            raise TryAgain(f"answers {status}", after, counts=status != 429)
        if 300 <= status < 400:
            raise RemoteFault("refused", self._about(f"redirects ({status}); give the final URL"))
        if reply.headers.get("content-encoding", "identity").lower() != "identity":
            raise RemoteFault("bad_answer", self._about("compresses its answer unasked"))
        data = bytearray()
        async for chunk in reply.aiter_raw():
            data += chunk
            if len(data) > self._calls.max_response_bytes:
                most = self._calls.max_response_bytes
                raise RemoteFault("bad_answer", self._about(f"answers more than {most} bytes"))
        if status >= 400:
            raise RemoteFault("refused", self._about(f"answers {status}: {self._quote(data)}"))
        return bytes(data)

    def _about(self, what: str) -> str:
        return f"{self._destination.host} {what}"

    def _quote(self, data: bytearray) -> str:
        text = data.decode(errors="replace")
        for secret in self._secrets.values():
            for part in (secret, secret.partition(" ")[2]):
                text = text.replace(part, "***") if part else text
        return " ".join(text[:QUOTED].split())
