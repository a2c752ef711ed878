"""Settings that are lists, as an environment variable can hold them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode


def split_paths(value: object) -> object:
    """JSON, or paths joined with the platform's path separator."""
    if isinstance(value, str):
        return json.loads(value) if value.startswith("[") else value.split(os.pathsep)
    return value


def split_origins(value: object) -> object:
    """JSON, or origins joined with commas."""
    if isinstance(value, str):
        listed = json.loads(value) if value.startswith("[") else value.split(",")
        return [str(origin).strip() for origin in listed if str(origin).strip()]
    return value


def exact(value: tuple[str, ...]) -> tuple[str, ...]:
    """Origins and nothing else."""
    for origin in value:
        if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", origin):
            raise ValueError(
                f"{origin!r} is no origin; write scheme, host and port: https://app.example.org"
            )
    return value


Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(split_paths)]
Origins = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(split_origins), AfterValidator(exact)
]
