"""The service that commands talk to: found, reached, let in, and well."""

from __future__ import annotations

from pathlib import Path

import httpx

from rlhf_service.cli.doctor.finding import Finding, fail, ok, warn
from rlhf_service.client import ApiError, Client, Retry, Unreachable
from rlhf_service.client.address import NOWHERE, Address, config_file, find_address, is_private
from rlhf_service.errors import RlhfError

SECONDS = 10.0
START = "start it: rlhf serve; or set RLHF_URL to where it is"
REMEDIES = {
    "database": "bring its schema up to date, or the database back: python -m api.store.migrate",
    "storage": "make RLHF_STORAGE writable for the service's user",
    "reconciler": "look into the service's log, and restart it",
    "cluster": "start Ray, or set RLHF_RAY_ADDRESS to its dashboard; jobs wait until then",
}


def service(transport: httpx.BaseTransport | None = None) -> list[Finding]:
    """Stops at the first thing that makes the others pointless."""
    try:
        address = find_address()
    except RlhfError as fault:
        level = warn if str(fault) == NOWHERE else fail
        return [level("Service", "none to talk to", str(fault))]
    found = [ok("Service", f"{address.url}, from {address.source}"), *privacy(address)]
    with Client(
        address.url,
        address.api_key,
        timeout=SECONDS,
        retry=Retry(tries=1),
        transport=transport,
    ) as client:
        reached = readiness(client)
        signed_in = key(client) if reached[0].name != "API" or reached[0].level != "fail" else []
    return [*found, *reached, *signed_in]


def readiness(client: Client) -> list[Finding]:
    """What the service says of itself, its Ray cluster included."""
    try:
        checks = client.readiness().checks
    except Unreachable as fault:
        return [fail("API", str(fault), START)]
    except ApiError as fault:
        return [fail("API", str(fault), "this is no rlhf-service; set RLHF_URL to where it is")]
    found = [ok("API", "answers")]
    for name, said in checks.items():
        title = "Ray" if name == "cluster" else f"Service's {name}"
        remedy = REMEDIES.get(name, "look into the service's log")
        found.append(ok(title, said) if said == "ok" else fail(title, said, remedy))
    return found


def key(client: Client) -> list[Finding]:
    try:
        client.jobs.list(limit=1)
    except ApiError as fault:
        remedy = f"sign in with a key that is valid: rlhf login {client.address.url}"
        return [fail("API key", str(fault), remedy)]
    return [ok("API key", "valid")]


def privacy(address: Address) -> list[Finding]:
    """Others must not read the key."""
    path = Path(address.source)
    if path != config_file() or is_private(path):
        return []
    return [warn("Key file", f"others can read {path}", f"chmod 600 {path}")]
