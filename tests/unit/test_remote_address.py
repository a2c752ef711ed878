"""Where rewards may call."""

from __future__ import annotations

import ipaddress

import httpx
import pytest

from rlhf_service.reward.remote.address import (
    AddressRefused,
    addresses,
    as_address,
    check_address,
    check_url,
    is_public,
)
from rlhf_service.reward.remote.transport import PinnedTransport
from tests.unit.scoring_server import ScoringServer, scores

NOBODY: frozenset[str] = frozenset()

INSIDE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "0",
    "10.0.0.8",
    "172.16.3.4",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::127.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[2002:7f00:1::]",
    "[2001:0:4136:e378:8000:63bf:f5ff:fffe]",
]


@pytest.mark.parametrize("host", INSIDE)
def test_addresses_that_are_not_public_are_refused_without_resolving(host):
    with pytest.raises(AddressRefused, match=r"RLHF_ALLOW_PRIVATE_URLS|not a URL"):
        check_url(f"http://{host}/score", False, NOBODY)


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1111]", "134744072", "judge.example"])
def test_public_addresses_and_names_pass(host):
    assert check_url(f"https://{host}/v1", False, NOBODY).port == 443


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://judge.example/", "use http or https"),
        ("file:///etc/passwd", "use http or https"),
        ("judge.example/score", "use http or https"),
        ("http:///score", "names no host"),
        ("http://me:secret@judge.example/", "use a header"),
        ("http://judge.example:99999999/", "no port"),
    ],
)
def test_urls_that_are_no_http_urls(url, said):
    with pytest.raises(AddressRefused, match=said):
        check_url(url, False, NOBODY)


@pytest.mark.parametrize(
    "answers", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1"], ["169.254.169.254"]]
)
def test_a_name_is_refused_when_any_of_its_addresses_is_private(answers):
    destination = check_url("http://judge.example/", False, NOBODY)
    with pytest.raises(AddressRefused, match=r"judge\.example is at"):
        addresses(destination, lambda host, port: answers)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::1", "fd12::1"])
def test_the_switch_allows_private_addresses(address):
    check_address(check_url("http://judge.lan/", True, NOBODY), ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "168.63.129.16", "224.0.0.1"])
def test_the_switch_never_allows_metadata_addresses_but_naming_the_host_does(address):
    found = ipaddress.ip_address(address)
    with pytest.raises(AddressRefused):
        check_address(check_url("http://meta.lan/", True, NOBODY), found)
    check_address(check_url("http://meta.lan/", False, frozenset({"meta.lan:80"})), found)
    with pytest.raises(AddressRefused):
        check_address(check_url("http://meta.lan:81/", False, frozenset({"meta.lan:80"})), found)


def test_every_form_of_an_address_is_the_same_address():
    forms = ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "017700000001")
    assert {str(as_address(form)) for form in forms} == {"127.0.0.1"}
    assert as_address("judge.example") is None
    assert not is_public(ipaddress.ip_address("127.0.0.1"))


async def post(url, destination, resolver):
    transport = PinnedTransport(destination, resolver)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        return await client.post(url, json={})


@pytest.mark.asyncio
async def test_the_address_that_was_checked_is_the_one_that_is_called():
    """The name resolves once for each request; what the system's resolver says does not count."""
    server = ScoringServer(lambda _: scores([]))
    with server.running() as base:
        url = base.replace("127.0.0.1", "judge.invalid") + "/score"
        asked = []

        def resolver(host, port):
            asked.append(host)
            return ["127.0.0.1"]

        destination = check_url(url, True, NOBODY)
        assert (await post(url, destination, resolver)).status_code == 200
    assert asked == ["judge.invalid"]
    assert server.headers[0]["Host"].startswith("judge.invalid:")


@pytest.mark.asyncio
async def test_a_name_that_turns_private_is_not_called():
    server = ScoringServer(lambda _: scores([]))
    with server.running() as base:
        url = base.replace("127.0.0.1", "judge.example")
        destination = check_url(url, False, NOBODY)
        with pytest.raises(AddressRefused):
            await post(url, destination, lambda host, port: ["127.0.0.1"])
    assert server.requests == []


@pytest.mark.asyncio
async def test_the_next_address_is_tried_when_the_first_does_not_answer():
    server = ScoringServer(lambda _: scores([]))
    with server.running() as base:
        url = base.replace("127.0.0.1", "judge.invalid")
        found = ["127.0.0.2", "127.0.0.1"]  # nothing listens on the first
        reply = await post(url, check_url(url, True, NOBODY), lambda host, port: found)
    assert reply.status_code == 200
