"""OIDC bearer tokens: checked against the issuer's published keys, turned into callers."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt

from api.schemas.keys import TENANT
from api.service.caller import Caller, including
from api.service.faults import Fault, WrongCredentials
from api.settings import Settings

log = logging.getLogger("rlhf.api")

JWK = dict[str, Any]
"""A published key."""
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
ALGORITHMS += ["EdDSA"]
"""Signatures by a private key. Shared secrets are none of them: the issuer publishes its keys."""
LEEWAY = 30
"""Seconds that the issuer's clock may be off."""
FRESH_SECONDS = 600.0
"""How long published keys are used without asking again."""
PAUSE_SECONDS = 15.0
"""Between two questions, however many tokens name a key that nobody knows."""
TIMEOUT = 5.0


class IssuerUnreachable(Fault):
    """The issuer's keys are not to be had."""

    status, code = 503, "issuer_unreachable"


class PublishedKeys:
    """The issuer's keys by id. Consumes its JWKS; asks for it when the keys are old, or when a
    token names one that is not among them, as after a rotation; keeps what it has while the issuer
    does not answer.
    """

    def __init__(
        self, issuer: str, jwks_url: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.issuer, self.jwks_url = issuer, jwks_url
        self._clock = clock
        self._client = httpx.AsyncClient(timeout=TIMEOUT)
        self._keys: dict[str | None, JWK] = {}
        self._fetched = self._asked = float("-inf")
        self._one = asyncio.Lock()

    async def key(self, key_id: str | None) -> JWK | None:
        """None when the issuer publishes no such key. Raises IssuerUnreachable."""
        if not self._is_fresh(key_id):
            async with self._one:
                if not self._is_fresh(key_id) and self._clock() - self._asked > PAUSE_SECONDS:
                    await self._fetch()
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def close(self) -> None:
        await self._client.aclose()

    def _is_fresh(self, key_id: str | None) -> bool:
        known = key_id in self._keys or (key_id is None and len(self._keys) == 1)
        return known and self._clock() - self._fetched < FRESH_SECONDS

    async def _fetch(self) -> None:
        self._asked = self._clock()
        try:
            found = await self._get(self.jwks_url or await self._discover())
            keys = {key.get("kid"): key for key in signing_keys(found)}
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as fault:
            log.warning("the keys of %s were not to be had: %s", self.issuer, fault)
            if not self._keys:
                self._asked = float("-inf")  # nobody can sign in: the next one asks again
                raise IssuerUnreachable(
                    "the issuer of sign-in tokens does not answer; try again later, or use an API key"
                ) from None
            return
        self._keys, self._fetched = keys, self._clock()

    async def _discover(self) -> str:
        found = await self._get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            raise ValueError(f"it says that it is {found.get('issuer')!r}")
        if "jwks_uri" not in found:
            raise ValueError("its configuration names no jwks_uri")
        return str(found["jwks_uri"])

    async def _get(self, url: str) -> JWK:
        answer = await self._client.get(url)
        answer.raise_for_status()
        found = answer.json()
        if not isinstance(found, dict):
            raise ValueError(f"{url} is no JSON object")
        return found


class Oidc:
    """Checks tokens. Made only where an issuer is configured."""

    def __init__(self, settings: Settings, keys: PublishedKeys) -> None:
        self.settings = settings
        self.keys = keys

    async def check(self, token: str) -> Caller:
        """Raises WrongCredentials or IssuerUnreachable."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise WrongCredentials("this is no valid token") from None
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise WrongCredentials(f"this token is signed by {algorithm!r}, which is not taken")
        key = await self.keys.key(header.get("kid"))
        if key is None or key.get("alg") not in (None, algorithm):
            raise WrongCredentials("this token is signed by a key that its issuer does not publish")
        try:
            claims = jwt.decode(
                token,
                jwt.PyJWK.from_dict(key, algorithm),
                algorithms=[algorithm],
                audience=self.settings.oidc_audience,
                issuer=self.settings.oidc_issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise WrongCredentials("this token has expired; sign in again") from None
        except jwt.PyJWTError as fault:
            raise WrongCredentials(f"this token is not valid here: {fault}") from None
        return self._caller(claims)

    async def close(self) -> None:
        await self.keys.close()

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        subject = str(claims["sub"])
        tenant = claim(claims, self.settings.oidc_tenant_claim) or self.settings.oidc_tenant
        if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
            named = self.settings.oidc_tenant_claim
            raise WrongCredentials(f"this token's claim {named!r} names no tenant")
        known = f"{claims['iss']}\0{subject}".encode()
        return Caller(
            id=f"oidc-{hashlib.sha256(known).hexdigest()[:32]}",
            name=str(claims.get("email") or claims.get("preferred_username") or subject)[:255],
            tenant=tenant,
            scopes=including(self._scopes(claim(claims, self.settings.oidc_scope_claim))),
        )

    def _scopes(self, granted: object) -> list[str]:
        names = granted.split() if isinstance(granted, str) else granted
        if not isinstance(names, list):
            return []
        known = self.settings.oidc_scopes
        return [known[name] for name in names if isinstance(name, str) and name in known]


def signing_keys(jwks: JWK) -> list[JWK]:
    """Those that can check a signature; others, and those of unknown kinds, are passed over."""
    entries = jwks.get("keys")
    found = [
        entry
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict)
        and entry.get("kty") in ("RSA", "EC", "OKP")
        and entry.get("use") in (None, "sig")
    ]
    if not found:
        raise ValueError("it publishes no key that checks a signature")
    return found


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that name, else what dots lead to: `realm_access.roles`."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def oidc_of(settings: Settings) -> Oidc | None:
    """None where no issuer is configured."""
    if not settings.oidc_issuer:
        return None
    return Oidc(settings, PublishedKeys(settings.oidc_issuer, settings.oidc_jwks_url))
