"""Checks a job's data files before any process is started. Import-light."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_service.data.rows import (
    PromptRow,
    read_completions,
    read_preferences,
    read_prompts,
    read_text,
)
from rlhf_service.data.turns import check_templates, data_of
from rlhf_service.errors import DataError
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.reward import RewardSpec, columns_in
from rlhf_service.spec.stages import DpoStage, PpoStage, PretrainStage, RewardStage, SftStage

READERS = {
    PretrainStage: read_text,
    SftStage: read_completions,
    RewardStage: read_preferences,
    DpoStage: read_preferences,
}


def check_data(spec: JobSpec) -> None:
    """Read every data file of every stage. Raises DataError naming the field, file and line."""
    check_files(spec)
    check_templates(spec)


def check_files(spec: JobSpec) -> None:
    """Every row can be read, and has the columns that the rewards read. Raises DataError."""
    for index, stage in enumerate(spec.stages):
        at = f"stages[{index}]"
        if isinstance(stage, PpoStage):
            check_prompts(stage, at)
            continue
        read = READERS[type(stage)]
        for field, data in data_of(stage, at):
            read(data, field)


def check_prompts(stage: PpoStage, at: str) -> None:
    """Prompts can be read, and have the columns that the rewards read. Raises DataError."""
    rewards = stage.rewards()
    rows = read_prompts(stage.prompts, f"{at}.prompts.path")
    check_columns(rows, stage.prompts.path, rewards[:1], at)
    if stage.evaluation is not None:
        rows = read_prompts(stage.evaluation.prompts, f"{at}.evaluation.prompts.path")
        check_columns(rows, stage.evaluation.prompts.path, rewards, at)


def check_columns(
    rows: Sequence[PromptRow], path: str, rewards: Sequence[tuple[str, RewardSpec]], at: str
) -> None:
    """Raises DataError naming the reward's field, and the first row that lacks its column."""
    for place, reward in rewards:
        for field, column in columns_in(reward, f"{at}.{place}"):
            for number, row in enumerate(rows):
                if row.item.get(column) is None:
                    known = ", ".join(sorted(k for k, v in row.item.items() if v is not None))
                    raise DataError(
                        f"row {number} of {path} has no column {column!r}, which the reward reads; "
                        f"it has {known}",
                        field,
                    )
