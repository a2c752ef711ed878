"""Tokens of an OIDC issuer, from a real one on a socket."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization

from api.service import oidc
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.issuer import AUDIENCE, Issuer, issuing, rsa_key
from tests.api.world import JSON, World, running

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


@pytest_asyncio.fixture
async def trusting(tmp_path: Path, database_url: str, issuer: Issuer) -> AsyncIterator[World]:
    """A service that takes the issuer's tokens."""
    settings = make_settings(
        tmp_path,
        database_url,
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
        oidc_scopes={"rlhf:write": "write", "rlhf:admin": "admin", "trainers": "write"},
    )
    async with running(settings, FakeLauncher()) as world:
        yield world


async def ask(
    world: World, token: str, method: str = "GET", path: str = "/v1/me"
) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    body = world.spec() if method == "POST" else None
    return await world.client.request(method, path, headers=headers, json=body)


async def me(world: World, token: str) -> JSON:
    answer = await ask(world, token)
    assert answer.status_code == 200, answer.text
    found: JSON = answer.json()
    return found


@pytest.mark.asyncio
async def test_a_token_is_its_subjects_in_its_tenant(trusting: World, issuer: Issuer) -> None:
    token = issuer.token(email="alice@example.org")
    alice = await me(trusting, token)
    assert (alice["tenant"], alice["scopes"]) == ("blue", ["read", "write"])
    assert (alice["name"], alice["id"][:5]) == ("alice@example.org", "oidc-")
    assert (await ask(trusting, token, "POST", "/v1/jobs")).status_code == 201
    assert len((await ask(trusting, token, "GET", "/v1/jobs")).json()["data"]) == 1
    assert (await trusting.get("/v1/jobs"))["data"] == []  # the operator's key: another tenant
    assert (await ask(trusting, token, "GET", "/v1/keys")).status_code == 403
    (entry,) = (await trusting.get("/v1/audit"))["data"]
    assert (entry["caller_id"], entry["tenant"]) == (alice["id"], "blue")
    again, bob = await me(trusting, issuer.token()), await me(trusting, issuer.token(sub="bob"))
    assert again["id"] == alice["id"] != bob["id"]


@pytest.mark.parametrize(
    ("granted", "scopes"),
    [
        ("rlhf:admin", ["read", "write", "admin"]),
        (["trainers", "others", 7], ["read", "write"]),
        ("openid profile admin", []),
        (None, []),
        ({"rlhf:admin": True}, []),
    ],
)
@pytest.mark.asyncio
async def test_only_named_scopes_count(
    trusting: World, issuer: Issuer, granted: object, scopes: list[str]
) -> None:
    answer = await ask(trusting, issuer.token(scope=granted))
    if scopes:
        assert answer.json()["scopes"] == scopes
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def unsigned(issuer: Issuer) -> str:
    _, body, _ = issuer.token().split(".")
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": "first"}).encode())
    return f"{head.decode().rstrip('=')}.{body}."


def confused(issuer: Issuer) -> str:
    """Signed by HMAC with the public key, for those who let the token choose."""
    public = issuer.keys["first"].public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    secret = public.public_bytes(serialization.Encoding.PEM, form)
    head, body, _ = issuer.token().split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').decode().rstrip("=")
    signed = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{base64.urlsafe_b64encode(signed).decode().rstrip('=')}"


def tampered(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    _, body, _ = issuer.token(scope="rlhf:admin").split(".")
    return f"{head}.{body}.{signature}"


PAST = int(time.time()) - 3600
WRONG: dict[str, Any] = {
    "expired": lambda issuer: issuer.token(exp=PAST),
    "not yet": lambda issuer: issuer.token(nbf=PAST + 7200),
    "for others": lambda issuer: issuer.token(aud="another-service"),
    "for nobody": lambda issuer: issuer.token(aud=None),
    "by others": lambda issuer: issuer.token(iss="https://evil.test"),
    "for ever": lambda issuer: issuer.token(exp=None),
    "of nobody": lambda issuer: issuer.token(sub=None),
    "no tenant": lambda issuer: issuer.token(tenant=None),
    "odd tenant": lambda issuer: issuer.token(tenant="../default"),
    "many tenants": lambda issuer: issuer.token(tenant=["blue", "red"]),
    "foreign key": lambda issuer: issuer.token(key=rsa_key()),
    "unknown key": lambda issuer: issuer.token(headers={"kid": "unknown"}),
    "shared key": lambda issuer: issuer.token(headers={"kid": "shared"}),
    "unsigned": unsigned,
    "confused": confused,
    "tampered": tampered,
    "no header": lambda issuer: "eyJ.e30.x",
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.asyncio
async def test_wrong_tokens_open_nothing(trusting: World, issuer: Issuer, kind: str) -> None:
    token = WRONG[kind](issuer)
    answer = await ask(trusting, token)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), answer.text
    assert token not in answer.text


@pytest.mark.asyncio
async def test_a_new_key_is_fetched_when_a_token_names_it(
    trusting: World, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trusting.services.sign_in.oidc is not None
    keys, moment = trusting.services.sign_in.oidc.keys, 1000.0
    monkeypatch.setattr(keys, "_clock", lambda: moment)
    old = issuer.token()
    for _ in range(3):
        await me(trusting, old)
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    issuer.rotate("second", elliptic=True)
    new = issuer.token()
    moment += oidc.PAUSE_SECONDS + 1
    await me(trusting, new)
    assert issuer.asked.count("/keys") == 2
    assert (await ask(trusting, old)).status_code == 401  # its key is no longer published
    # Tokens that name keys of nobody do not make the service ask for each.
    moment += oidc.PAUSE_SECONDS + 1
    for number in range(20):
        stranger = issuer.token(headers={"kid": f"k{number}"})
        assert (await ask(trusting, stranger)).status_code == 401
    assert issuer.asked.count("/keys") == 3
    moment += oidc.FRESH_SECONDS + 1
    await me(trusting, new)
    assert issuer.asked.count("/keys") == 4


@pytest.mark.asyncio
async def test_an_issuer_that_is_away(
    trusting: World, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trusting.services.sign_in.oidc is not None
    keys, moment = trusting.services.sign_in.oidc.keys, 1000.0
    monkeypatch.setattr(keys, "_clock", lambda: moment)
    issuer.down = True
    answer = await ask(trusting, issuer.token())
    assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unreachable")
    assert (await trusting.client.get("/v1/jobs")).status_code == 200  # keys of ours still open
    issuer.down = False
    await me(trusting, issuer.token())
    issuer.down = True
    moment += oidc.FRESH_SECONDS + 1
    await me(trusting, issuer.token())  # known keys stay in use


@pytest.mark.asyncio
async def test_without_an_issuer_a_token_is_a_wrong_key(world: World, issuer: Issuer) -> None:
    assert (await ask(world, issuer.token())).status_code == 401
    assert issuer.asked == []


@pytest.mark.asyncio
async def test_settings_that_would_not_protect_are_refused(
    tmp_path: Path, database_url: str
) -> None:
    for changes, text in (
        ({"oidc_issuer": "https://login.example.org"}, "oidc_audience"),
        ({"oidc_issuer": "http://login.example.org", "oidc_audience": "x"}, "https"),
        (
            {
                "oidc_issuer": "https://login.example.org",
                "oidc_audience": "x",
                "oidc_jwks_url": "http://login.example.org/keys",
            },
            "oidc_jwks_url",
        ),
    ):
        with pytest.raises(ValueError, match=text):
            make_settings(tmp_path, database_url, **changes)


def test_claims_in_objects_are_found(database_url: str) -> None:
    claims = {"a.b": 1, "realm": {"roles": ["x"]}}
    assert oidc.claim(claims, "a.b") == 1
    assert oidc.claim(claims, "realm.roles") == ["x"]
    assert oidc.claim(claims, "realm.roles.x") is None
