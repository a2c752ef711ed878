"""What one look at the installation says."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"  #: works, but not everything, or not for long
    FAIL = "fail"  #: does not work until it is mended


class Finding(BaseModel):
    """One line of the doctor."""

    model_config = ConfigDict(frozen=True)

    name: str
    level: Level
    said: str
    remedy: str = ""
    """What to do; empty when all is well."""


def ok(name: str, said: str) -> Finding:
    return Finding(name=name, level=Level.OK, said=said)


def warn(name: str, said: str, remedy: str) -> Finding:
    return Finding(name=name, level=Level.WARN, said=said, remedy=remedy)


def fail(name: str, said: str, remedy: str) -> Finding:
    return Finding(name=name, level=Level.FAIL, said=said, remedy=remedy)
