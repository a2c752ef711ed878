"""Where the service is, with which key, and how that is known."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_service.errors import RlhfError
from rlhf_service.storage import write_private

SERVED = Path(".rlhf") / "connection.json"
"""What a running `rlhf serve` leaves in its folder."""
NOWHERE = (
    "no service to talk to: set RLHF_URL and RLHF_API_KEY, sign in with `rlhf login URL`, "
    "or run `rlhf serve` in this folder"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A service and the key to it."""

    url: str
    api_key: str
    source: str = ""
    """Where this was found; empty when the caller gave it."""

    def __repr__(self) -> str:
        return f"Address({self.url!r}, api_key=…)"


def config_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Of this user: where `rlhf login` keeps address and key."""
    base = environment.get("XDG_CONFIG_HOME") or ""
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
    return folder / "rlhf" / "connection.json"


def find_address(
    url: str | None = None,
    api_key: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Address:
    """What is given; else RLHF_URL and RLHF_API_KEY; else the service that runs in this folder or the
    nearest above it; else the one of `rlhf login`. Raises RlhfError when nothing says where, or with
    which key.
    """
    url = (url or environment.get("RLHF_URL") or "").strip()
    key = (api_key or environment.get("RLHF_API_KEY") or "").strip()
    source = "RLHF_URL"
    files = (served(), config_file(environment))
    # A key goes only to the address that it was kept with.
    for path in files if not (url and key) else ():
        known = read(path)
        found, its_key = known.get("url", ""), known.get("api_key", "")
        if found and (not url or url.rstrip("/") == found.rstrip("/")) and (key or its_key):
            url, key, source = found, key or its_key, str(path)
            break
    if not url or not key:
        missing = f"no key for {url}: set RLHF_API_KEY, or sign in with `rlhf login {url}`"
        raise RlhfError(missing if url else NOWHERE)
    if not (key.isascii() and key.isprintable()):
        raise RlhfError("the API key has characters that no key has; copy it again")
    return Address(url.rstrip("/"), key, source)


def served() -> Path:
    """What the `rlhf serve` of this folder left, or of the nearest above it that is this user's own."""
    for folder in Path.cwd().parents if not SERVED.exists() else ():
        found = folder / SERVED
        if found.is_file() and found.stat().st_uid == os.getuid():
            return found
    return SERVED


def read(path: Path) -> dict[str, str]:
    """Address and key kept in a file; empty without one. Raises RlhfError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as fault:
        raise RlhfError(f"{path} cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        again = (
            "start `rlhf serve` again"
            if path.parent.name == SERVED.parent.name
            else "sign in with `rlhf login` again"
        )
        raise RlhfError(f"{path} is damaged; {again}, which writes it anew")
    return {name: value for name, value in found.items() if isinstance(value, str)}


def keep(address: Address, path: Path) -> None:
    """Keep address and key where only this user can read them. Raises RlhfError."""
    try:
        write_private(path, json.dumps({"url": address.url, "api_key": address.api_key}) + "\n")
    except OSError as fault:
        raise RlhfError(f"{path} cannot be written: {fault.strerror}") from None


def is_private(path: Path) -> bool:
    """Whether nobody else may read the file."""
    return not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
