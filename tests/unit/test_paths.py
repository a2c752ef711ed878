"""Every path that a specification can name is found, wherever it stands."""

from __future__ import annotations

from api.service.admission import paths_of
from rlhf_service.spec import JobSpec


def test_models_inside_rewards_of_rewards_are_confined_too(pipeline_spec):
    plain = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    folder = {"type": "folder", "path": "/etc"}
    plain["stages"][-1]["reward"] = {
        "type": "multi",
        "graders": {
            "one": {"type": "reward_model", "model": folder},
            "several": {"type": "ensemble", "models": [folder, folder]},
        },
        "calculate_output": "one + several",
    }
    plain["stages"][-1]["evaluation"]["metrics"] = [{"type": "reward_model", "model": folder}]
    found = [field for field, path, _ in paths_of(JobSpec.model_validate(plain)) if path == "/etc"]
    assert found == [
        "stages[2].reward.graders.one.model.path",
        "stages[2].reward.graders.several.models[0].path",
        "stages[2].reward.graders.several.models[1].path",
        "stages[2].evaluation.metrics[0].model.path",
    ]
