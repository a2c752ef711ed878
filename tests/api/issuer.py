"""An OIDC issuer on a socket of its own: discovery, published keys, tokens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "rlhf-service"


@dataclass(slots=True)
class Issuer:
    """Signs with its newest key; publishes all it has."""

    url: str
    keys: dict[str, Any] = field(default_factory=dict)
    """Key id → private key, oldest first."""
    asked: list[str] = field(default_factory=list)
    """Paths that were asked for."""
    down: bool = False

    def rotate(self, key_id: str, *, elliptic: bool = False) -> None:
        """A new key in place of those before."""
        self.keys.clear()
        made = ec.generate_private_key(ec.SECP256R1()) if elliptic else rsa_key()
        self.keys[key_id] = made

    def token(
        self, *, key: Any = None, headers: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """A token for AUDIENCE; a claim that is None is left out."""
        key_id, newest = list(self.keys.items())[-1]
        moment = int(time.time())
        body = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "alice",
            "iat": moment,
            "exp": moment + 300,
            "tenant": "blue",
            "scope": "openid rlhf:write",
            **claims,
        }
        body = {name: value for name, value in body.items() if value is not None}
        algorithm = "ES256" if isinstance(newest, ec.EllipticCurvePrivateKey) else "RS256"
        return jwt.encode(
            body, key or newest, algorithm, headers={"kid": key_id, **(headers or {})}
        )

    def jwks(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = [{"kty": "oct", "kid": "shared", "k": "c2VjcmV0"}]
        for key_id, key in self.keys.items():
            is_ec = isinstance(key, ec.EllipticCurvePrivateKey)
            of = ECAlgorithm if is_ec else RSAAlgorithm
            public = of.to_jwk(key.public_key(), as_dict=True)
            found.append({**public, "kid": key_id, "use": "sig"})
        return {"keys": found}


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@contextmanager
def issuing() -> Iterator[Issuer]:
    """The issuer's server from start to end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            answers = {
                "/.well-known/openid-configuration": {
                    "issuer": issuer.url,
                    "jwks_uri": f"{issuer.url}/keys",
                },
                "/keys": issuer.jwks(),
            }
            self.send_response(503 if issuer.down else 200)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path]).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
    issuer.rotate("first")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
