"""Which addresses a reward may call: checked on what a name resolves to, and that is called.

A name may resolve to a public address when it is checked and to a private one when it is called
(DNS rebinding); so the address that passed the check is the one that is connected to.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]
"""(host, port) → addresses. Raises OSError."""

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
COMPATIBLE = ipaddress.IPv6Network("::/96")
PLATFORM = (
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's wire server
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments; Oracle's metadata service
)
"""Services of the cloud that a machine runs in, which `is_global` lets through."""


class AddressRefused(Exception):
    """The URL leads where jobs may not go."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Host and port of a URL that may be called."""

    host: str
    port: int
    private: bool
    """Private and loopback addresses are allowed."""
    anywhere: bool
    """The operator named this host: whatever it resolves to is allowed."""


def check_url(url: str, private: bool, hosts: AbstractSet[str]) -> Destination:
    """Everything that can be told without resolving a name. Raises AddressRefused."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as fault:
        raise AddressRefused(f"not a URL: {fault}") from None
    if parsed.scheme not in ("http", "https"):
        raise AddressRefused(f"{parsed.scheme or 'no scheme'}: use http or https")
    if parsed.userinfo:
        raise AddressRefused("a name or password in the URL would be stored; use a header")
    host = parsed.host.lower().rstrip(".")
    if parsed.port is not None and not 0 < parsed.port < 2**16:
        raise AddressRefused(f"{parsed.port} is no port; give one from 1 to 65535")
    if not host:
        raise AddressRefused("it names no host")
    port = parsed.port or {"http": 80, "https": 443}[parsed.scheme]
    anywhere = bool({host, f"{host}:{port}"} & hosts)
    destination = Destination(host, port, private, anywhere)
    if (literal := as_address(host)) is not None:
        check_address(destination, literal)
    return destination


def as_address(text: str) -> Address | None:
    """The address that `text` spells, the short, octal and decimal forms of C included."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except (OSError, UnicodeError):
        return None


def check_address(destination: Destination, address: Address) -> None:
    """Raises AddressRefused unless `destination` may be called at `address`."""
    if destination.anywhere:
        return
    meant = embedded(address)
    if is_public(meant):
        return
    # Link-local addresses hold the clouds' metadata services: never by a general switch.
    if destination.private and not meant.is_link_local and (meant.is_private or meant.is_loopback):
        if not (meant.is_unspecified or meant.is_multicast or is_platform(meant)):
            return
    raise AddressRefused(
        f"{destination.host} is at {address}, which is not public; private addresses need "
        "RLHF_ALLOW_PRIVATE_URLS=1, a single host RLHF_ALLOW_URL_HOSTS"
    )


def is_public(address: Address) -> bool:
    """Routed on the internet, and no cloud's metadata service."""
    return address.is_global and not address.is_multicast and not is_platform(address)


def is_platform(address: Address) -> bool:
    return any(address in network for network in PLATFORM)


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in NAT64 or (address in COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def resolve(host: str, port: int) -> list[str]:
    """Every address of `host`, in the system's order. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def addresses(destination: Destination, resolver: Resolver = resolve) -> list[Address]:
    """What to connect to. Raises OSError, or AddressRefused when any address is refused."""
    literal = as_address(destination.host)
    texts = [str(literal)] if literal else resolver(destination.host, destination.port)
    found = [ipaddress.ip_address(text) for text in texts]
    if not found:
        raise OSError(f"{destination.host} has no address")
    for address in found:
        check_address(destination, address)
    return found
