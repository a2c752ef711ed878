"""The synchronous client: carries what `calls` describes with httpx.Client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from rlhf_service.client.parts.sync import (
    Audit,
    Drafts,
    Files,
    Jobs,
    Keys,
    Models,
    Quotas,
    Webhooks,
)
from rlhf_service.client.records.admin import Caller, Readiness
from rlhf_service.client.retry import Outcome, Retry, Trial, settled

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
        self.quotas = Quotas(self)
        self.audit = Audit(self)
        self.webhooks = Webhooks(self)

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

    def me(self) -> Caller:
        """Whom the service takes this client to be."""
        return self.send(keys.ME)

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
    def stream(
        self,
        method: str,
        path: str,
        *,
        refuse: Callable[[httpx.Response], None] = refuse_stream,
        timeout: httpx.Timeout = STREAM_TIMEOUT,
        **options: Any,
    ) -> Iterator[httpx.Response]:
        """An answer to be read as it comes. Raises ApiError on a refusal; httpx.TransportError on a
        break, or when the service says that it cannot answer just now.
        """
        with self._http.stream(method, path, timeout=timeout, **options) as reply:
            if reply.status_code >= 400:
                reply.read()
                refuse(reply)
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
