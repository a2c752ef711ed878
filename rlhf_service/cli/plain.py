"""One line instead of a traceback for everything a user can meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeVar

import typer
import yaml

from rlhf_service.cli.located import located
from rlhf_service.client import ApiError
from rlhf_service.errors import RlhfError

P = ParamSpec("P")
R = TypeVar("R")


def plain_errors(command: Callable[P, R]) -> Callable[P, R]:
    """`command`, its known failures as one line and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (ApiError, RlhfError) as fault:
            typer.echo(f"error: {fault}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return run


def text_of(path: Path) -> str:
    """Raises RlhfError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as fault:
        raise RlhfError(f"{path} cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError as fault:
        raise RlhfError(f"{path} is neither YAML nor JSON: {fault}") from None


def spec_text(path: Path) -> str:
    """The file's text, its relative paths made absolute. Raises RlhfError."""
    return located(text_of(path), path.resolve().parent)


def read_spec(path: Path) -> dict[str, Any]:
    """The file's mapping, its relative paths made absolute. JSON is YAML too. Raises RlhfError."""
    try:
        found = yaml.safe_load(spec_text(path))
    except yaml.YAMLError as fault:
        raise RlhfError(f"{path} is neither YAML nor JSON: {fault}") from None
    if not isinstance(found, dict):
        raise RlhfError(f"{path} must hold a mapping of JobSpec fields, not {type(found).__name__}")
    return found


@contextmanager
def readable(path: Path) -> Iterator[BinaryIO]:
    """The file, opened. Raises RlhfError."""
    try:
        file = path.open("rb")
    except OSError as fault:
        raise RlhfError(f"{path} cannot be read: {fault.strerror}") from None
    with file:
        yield file


def written(path: Path, content: bytes) -> Path:
    """`path`, once it holds `content`. Raises RlhfError."""
    try:
        path.write_bytes(content)
    except OSError as fault:
        raise RlhfError(f"{path} cannot be written: {fault.strerror}") from None
    return path
