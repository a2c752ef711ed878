"""Relative paths in a job's file, which are meant from the folder that the file lies in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import yaml

PATHS = frozenset({"path", "tokenizer", "encoder"})
"""Fields that name a file or folder."""

FREE = frozenset({"labels", "columns"})
"""Fields whose keys are the user's own."""


def located(text: str, folder: Path) -> str:
    """`text`, its relative paths made absolute; lines and all else as they are. Text that is not YAML
    is returned as it is, for whoever reads it to say so.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return text
    # From the end, so that the places before stay what they are. An alias is its anchor's node.
    found = {node.start_mark.index: node for node in relative(root)}
    for _, node in sorted(found.items(), reverse=True):
        absolute = quoted(os.path.normpath(folder / node.value))
        text = text[: node.start_mark.index] + absolute + text[node.end_mark.index :]
    return text


def quoted(text: str) -> str:
    """As a double-quoted scalar on one line."""
    written: str = yaml.dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return written.rstrip("\n")


def relative(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """Scalars that are relative paths."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from relative(item)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if key.value in PATHS and isinstance(value, yaml.ScalarNode):
            if is_relative(value):
                yield value
        elif key.value not in FREE:
            yield from relative(value)


def is_relative(value: yaml.ScalarNode) -> bool:
    """Whether it is text and a path that does not begin at the root."""
    is_text = value.tag == "tag:yaml.org,2002:str"
    return is_text and bool(value.value) and not Path(value.value).is_absolute()
