"""Signatures of the Standard Webhooks scheme (standardwebhooks.com): v1, HMAC-SHA256."""

from __future__ import annotations

import base64
import hashlib
import hmac

PREFIX = "whsec_"


def shown(key: bytes) -> str:
    """A signing key as it is handed to the receiver."""
    return PREFIX + base64.b64encode(key).decode("ascii")


def headers(key: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """What a message is sent with. `timestamp` in Unix seconds, of this sending."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode("ascii")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
