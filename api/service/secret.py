"""The server's secret, and the tokens derived from it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from api.settings import Settings


def server_secret(settings: Settings) -> bytes:
    """32 random bytes in storage, readable by this user only; made by whoever comes first."""
    path = settings.control / "secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, secrets.token_hex(32))
    return bytes.fromhex(path.read_text(encoding="ascii"))


def attempt_token(secret: bytes, job_id: str, attempt: int) -> str:
    """What a driver shows when it posts events. Derived, so that a submit can be repeated."""
    message = f"events:{job_id}:{attempt}".encode()
    return "rlhfe_" + hmac.new(secret, message, hashlib.sha256).hexdigest()


def webhook_key(secret: bytes, webhook_id: str) -> bytes:
    """What a webhook's messages are signed with. Derived: nothing that signs lies in the database."""
    return hmac.new(secret, f"webhook:{webhook_id}".encode(), hashlib.sha256).digest()


def owner_of(secret: bytes) -> str:
    """How the replicas that share this secret mark what they start on a cluster."""
    return hmac.new(secret, b"owner", hashlib.sha256).hexdigest()[:12]


def digest(token: str) -> str:
    """How tokens and keys are stored. They are long and random: no salt, no stretching."""
    return hashlib.sha256(token.encode()).hexdigest()


def write_private(path: Path, text: str) -> None:
    """Create `path` with mode 0600, whole or not at all; an existing file stays as it is."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(partial, path)  # fails when another process was first; its file counts
    except FileExistsError:
        pass
    finally:
        partial.unlink()
