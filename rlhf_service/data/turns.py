"""Which jobs hold conversations, and whether their tokenizers can write them. Import-light."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rlhf_service.data.sources import BadRow, Item, items
from rlhf_service.data.templates import chat_template
from rlhf_service.errors import DataError
from rlhf_service.spec.data import DataSpec
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.model import FolderModel, ModelSpec
from rlhf_service.spec.served import origin
from rlhf_service.spec.stages import PpoStage, RewardStage, StageSpec
from rlhf_service.spec.walk import sections

LOOKED_AT = 1000
"""Rows of a file that are looked at, from the first."""

COLUMNS = ("messages", "prompt", "chosen")
"""A row is a conversation when one of them is a list."""


def converses(spec: JobSpec) -> bool:
    """Whether any data of the job hold conversations. Raises DataError."""
    return any(
        holds_turns(section, f"{field}.path")
        for field, section in sections(spec)
        if isinstance(section, DataSpec)
    )


def check_templates(spec: JobSpec) -> None:
    """Whoever reads conversations has a chat template. Raises DataError naming the data's field."""
    for index, stage in enumerate(spec.stages):
        if isinstance(stage, RewardStage) and stage.model is not None:
            continue  # an encoder reads turns as text
        folder = tokenizer_of(origin(spec, stage)[1])
        if folder is None or not folder.is_dir() or chat_template(folder):
            continue  # a folder that is not there is somebody else's to say
        for field, data in data_of(stage, f"stages[{index}]"):
            if holds_turns(data, field):
                raise DataError(
                    f"{data.path} holds conversations but the tokenizer in {folder} has no chat "
                    "template; use rows of plain text, or a model folder whose tokenizer has one",
                    field,
                )


def data_of(stage: StageSpec, at: str) -> Iterator[tuple[str, DataSpec]]:
    """What the stage learns from or is asked, each with its field."""
    if isinstance(stage, PpoStage):
        yield f"{at}.prompts.path", stage.prompts
        if stage.evaluation is not None:
            yield f"{at}.evaluation.prompts.path", stage.evaluation.prompts
        return
    yield f"{at}.data.path", stage.data
    if stage.validation is not None:
        yield f"{at}.validation.path", stage.validation


def holds_turns(spec: DataSpec, field: str) -> bool:
    """Whether one of the first rows is a conversation. Raises DataError."""
    names = [spec.columns.get(name, name) for name in COLUMNS]
    return any(is_turns(item, names) for _, item in islice(items(spec, field), LOOKED_AT))


def is_turns(item: Item | BadRow, names: list[str]) -> bool:
    """Whether a row is a conversation, ours or OpenAI's."""
    if isinstance(item, BadRow):
        return False
    return "preferred_output" in item or any(isinstance(item.get(name), list) for name in names)


def tokenizer_of(model: ModelSpec) -> Path | None:
    """Folder of the tokenizer that a model comes with; None when the job trains one."""
    given = model.path if isinstance(model, FolderModel) else getattr(model, "tokenizer", None)
    return None if given is None else Path(given)
