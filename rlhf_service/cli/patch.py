"""`field=value` words as changes of a job's specification."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from rlhf_service.cli.plain import text_of
from rlhf_service.errors import RlhfError


def changed(words: Iterable[str]) -> dict[str, Any]:
    """A merge patch: `learner.zero_stage=2` is {"learner": {"zero_stage": 2}}. A value is YAML, or with
    `@` the file that holds it. Raises RlhfError.
    """
    patch: dict[str, Any] = {}
    for word in words:
        path, sign, text = word.partition("=")
        if not sign or not all(path.split(".")):
            raise RlhfError(
                f"--set {word}: write field=value, as in seed=1 or learner.zero_stage=2"
            )
        if "[" in path:
            raise RlhfError(f"--set {word}: a list is replaced whole: --set stages=@new.yaml")
        *outer, last = path.split(".")
        inside = patch
        for name in outer:
            inside = inside.setdefault(name, {})
            if not isinstance(inside, dict):
                raise RlhfError(f"--set {word}: {name} is set already, and not to fields")
        inside[last] = value(word, text)
    return patch


def value(word: str, text: str) -> Any:
    try:
        return yaml.safe_load(text_of(Path(text[1:])) if text.startswith("@") else text)
    except yaml.YAMLError as fault:
        raise RlhfError(f"--set {word}: the value is neither YAML nor JSON: {fault}") from None
