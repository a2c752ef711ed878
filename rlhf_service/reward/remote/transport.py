"""An httpx transport that connects to the very address that was checked."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache

import httpx

from rlhf_service.reward.remote.address import Destination, Resolver, addresses, resolve


class PinnedTransport(httpx.AsyncBaseTransport):
    """Resolves and checks the host at every request, then calls the address itself.

    The Host header, SNI and the certificate's name stay those of the URL. Proxies of the
    environment are not used: behind one, the address called would be the proxy's choice.
    Raises AddressRefused, else httpx.TransportError.
    """

    def __init__(
        self, destination: Destination, resolver: Resolver = resolve, connections: int = 16
    ) -> None:
        self._destination, self._resolver = destination, resolver
        self._inner = httpx.AsyncHTTPTransport(
            verify=certificates(),
            trust_env=False,
            limits=httpx.Limits(max_connections=connections),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(None, addresses, self._destination, self._resolver)
        except OSError as fault:
            raise httpx.ConnectError(f"{self._destination.host}: {fault}") from None
        for address in found[:-1]:
            try:
                return await self._call(request, str(address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._call(request, str(found[-1]))

    async def _call(self, request: httpx.Request, address: str) -> httpx.Response:
        return await self._inner.handle_async_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": self._destination.host},
            )
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


@cache
def certificates() -> ssl.SSLContext:
    """The authorities to trust, SSL_CERT_FILE's where set. Reading them takes tens of milliseconds."""
    return httpx.create_ssl_context()
