"""Sessions of browsers that look at Ray's dashboard: a signed note of the key that began it."""

from __future__ import annotations

import hashlib
import hmac
import time

from api.service.caller import Caller
from api.service.faults import NotSignedIn
from api.service.keys import Keys

SESSION_SECONDS = 8 * 3600


class Sessions:
    """Nothing is stored: any replica can check a session, and a revoked key ends its sessions."""

    def __init__(self, keys: Keys, secret: bytes) -> None:
        self.keys = keys
        self._secret = secret

    def begin(self, key_id: str) -> str:
        """The cookie's value."""
        note = f"{key_id}.{int(time.time()) + SESSION_SECONDS}"
        return f"{note}.{self._sign(note)}"

    async def check(self, cookie: str) -> Caller:
        """Whose session this is. Raises NotSignedIn."""
        note, _, signed = cookie.rpartition(".")
        if not hmac.compare_digest(signed.encode(), self._sign(note).encode()):
            raise NotSignedIn("this session is not valid; sign in again")
        key_id, _, end = note.rpartition(".")
        if time.time() >= int(end):
            raise NotSignedIn("this session has ended; sign in again")
        return await self.keys.by_id(key_id)

    def _sign(self, note: str) -> str:
        return hmac.new(self._secret, f"session:{note}".encode(), hashlib.sha256).hexdigest()
