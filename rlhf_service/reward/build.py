"""RewardSpec → RewardFunction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from rlhf_service.ports import RewardFunction
from rlhf_service.reward.base import Guarded
from rlhf_service.reward.blend import Blend
from rlhf_service.reward.length import Length
from rlhf_service.reward.outside import build_judge
from rlhf_service.reward.regex import Regex
from rlhf_service.reward.string_check import StringCheck
from rlhf_service.spec.judges import HttpReward, PythonReward, ScoreModelReward
from rlhf_service.spec.reward import (
    BlendReward,
    LengthReward,
    RegexReward,
    RewardModelReward,
    RewardSpec,
    SingleReward,
    StringCheckReward,
)


def build_reward(
    spec: RewardSpec, folders: Mapping[str, Path], device: str = "cpu"
) -> RewardFunction:
    """The reward; `folders` maps stages to the folders of their models. Raises ModelError."""
    return Guarded(_build(spec, folders, device))


def _build(spec: RewardSpec, folders: Mapping[str, Path], device: str) -> RewardFunction:
    match spec:
        case StringCheckReward():
            return StringCheck(spec)
        case RegexReward():
            return Regex(spec)
        case LengthReward():
            return Length(spec)
        case BlendReward():
            parts = tuple(_build(part, folders, device) for part in distinct(spec.rewards))
            return Blend(parts, spec.weights)
        case HttpReward() | ScoreModelReward() | PythonReward():
            return build_judge(spec)
        case RewardModelReward():
            # Torch is loaded only where a network scores.
            import torch

            from rlhf_service.reward.reward_model import RewardModelScorer

            model = spec.model
            folder = folders[model.stage] if model.type == "stage" else Path(model.path)
            return RewardModelScorer.load(spec.name, folder, torch.device(device))


def distinct(parts: Sequence[SingleReward]) -> list[SingleReward]:
    """The parts, a name that is taken numbered on: `regex`, `regex_2`, so that no component is lost."""
    named: list[SingleReward] = []
    taken = {part.name for part in parts}
    for index, part in enumerate(parts):
        if part.name in {earlier.name for earlier in parts[:index]}:
            name = next(n for i in count(2) if (n := f"{part.name}_{i}") not in taken)
            taken.add(name)
            part = part.model_copy(update={"name": name})
        named.append(part)
    return named
