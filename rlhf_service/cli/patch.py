"""`field=value` words as changes of a job's specification."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rlhf_service.cli.plain import text_of
from rlhf_service.errors import RlhfError


def changed(words: Iterable[str], spec: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch of `spec`: `learner.zero_stage=2` is {"learner": {"zero_stage": 2}}. Members of a
    list are named by their `name` or number (`stages.ppo.steps=5`, `stages[0].steps=5`); the list is
    then in the patch whole. A value is YAML, or with `@` the file that holds it. Raises RlhfError.
    """
    patch: dict[str, Any] = {}
    for word in words:
        path, sign, text = word.partition("=")
        names = path.replace("[", ".").replace("]", "").split(".")
        if not sign or not all(names):
            raise RlhfError(
                f"--set {word}: write field=value, as in seed=1 or learner.zero_stage=2"
            )
        *outer, last = names
        inside: Any = patch
        there: Any = spec
        for name in outer:
            inside, there = step_into(word, inside, there, name)
        inside[place(word, inside, last)] = value(word, text)
    return patch


def step_into(word: str, inside: Any, there: Any, name: str) -> tuple[Any, Any]:
    """The section `name` of the patch, which begins empty, or as the list that the spec has there."""
    there = there.get(name) if isinstance(there, Mapping) else None
    if isinstance(inside, dict) and name not in inside:
        inside[name] = copy.deepcopy(there) if isinstance(there, list) else {}
    found = inside[place(word, inside, name)]
    if not isinstance(found, dict | list):
        raise RlhfError(f"--set {word}: {name} is set already, and not to fields")
    return found, there


def place(word: str, inside: Any, name: str) -> str | int:
    """Where `name` is in a section or a list. Raises RlhfError."""
    if isinstance(inside, dict):
        return name
    known = [item.get("name") if isinstance(item, dict) else None for item in inside]
    if name in known:
        return known.index(name)
    if name.isascii() and name.isdigit() and int(name) < len(inside):
        return int(name)
    there = ", ".join(str(label or number) for number, label in enumerate(known))
    raise RlhfError(f"--set {word}: there is no {name!r} in the list; there are {there or 'none'}")


def value(word: str, text: str) -> Any:
    try:
        return yaml.safe_load(text_of(Path(text[1:])) if text.startswith("@") else text)
    except yaml.YAMLError as fault:
        raise RlhfError(f"--set {word}: the value is neither YAML nor JSON: {fault}") from None
