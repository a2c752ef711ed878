"""Who shows this token: an API key's holder, or whoever an OIDC issuer vouches for."""

from __future__ import annotations

import re

from api.service.caller import Caller
from api.service.keys import Keys
from api.service.oidc import Oidc

JWT = re.compile(r"eyJ[\w-]*\.[\w-]*\.[\w-]*")


class SignIn:
    """What every request's check calls."""

    def __init__(self, keys: Keys, oidc: Oidc | None) -> None:
        self.keys = keys
        self.oidc = oidc

    async def check(self, token: str) -> Caller:
        """Raises WrongCredentials."""
        if self.oidc is not None and JWT.fullmatch(token):
            return await self.oidc.check(token)
        return await self.keys.check(token)

    async def close(self) -> None:
        if self.oidc is not None:
            await self.oidc.close()
