"""Checks a job's data files before any process is started. Import-light."""

from __future__ import annotations

from rlhf_service.data.rows import read_completions, read_preferences, read_prompts, read_text
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.stages import DpoStage, PpoStage, PretrainStage, RewardStage, SftStage

READERS = {
    PretrainStage: read_text,
    SftStage: read_completions,
    RewardStage: read_preferences,
    DpoStage: read_preferences,
}


def check_data(spec: JobSpec) -> None:
    """Read every data file of every stage. Raises DataError naming the field, file and line."""
    for index, stage in enumerate(spec.stages):
        at = f"stages[{index}]"
        if isinstance(stage, PpoStage):
            read_prompts(stage.prompts, f"{at}.prompts.path")
            if stage.evaluation is not None:
                read_prompts(stage.evaluation.prompts, f"{at}.evaluation.prompts.path")
            continue
        read = READERS[type(stage)]
        read(stage.data, f"{at}.data.path")
        if stage.validation is not None:
            read(stage.validation, f"{at}.validation.path")
