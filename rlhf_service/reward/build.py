"""RewardSpec → RewardFunction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from rlhf_service.formula import Formula
from rlhf_service.ports import RewardFunction
from rlhf_service.reward.answers import Answer, exact_match, token_f1
from rlhf_service.reward.base import Guarded
from rlhf_service.reward.blend import Blend
from rlhf_service.reward.ensemble import Ensemble
from rlhf_service.reward.length import Length
from rlhf_service.reward.multi import Multi
from rlhf_service.reward.outside import build_judge
from rlhf_service.reward.reading import repetition, sentiment
from rlhf_service.reward.regex import Regex
from rlhf_service.reward.similarity import chrf, text_similarity
from rlhf_service.reward.string_check import StringCheck
from rlhf_service.spec.graders import (
    ChrfReward,
    ExactMatchReward,
    RepetitionReward,
    SentimentReward,
    TextSimilarityReward,
    TokenF1Reward,
)
from rlhf_service.spec.judges import (
    HttpReward,
    LabelModelReward,
    PythonReward,
    ScoreModelReward,
)
from rlhf_service.spec.model import FolderModel, StageModel
from rlhf_service.spec.reward import (
    BlendReward,
    EnsembleReward,
    LengthReward,
    MultiReward,
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
        case TextSimilarityReward(encoder=FolderModel(path=path)):
            from rlhf_service.reward.embedding import embedding_similarity

            return embedding_similarity(spec, Path(path), device)
        case TextSimilarityReward():
            return text_similarity(spec)
        case ChrfReward():
            return chrf(spec)
        case ExactMatchReward():
            return Answer(spec, exact_match)
        case TokenF1Reward():
            return Answer(spec, token_f1)
        case SentimentReward():
            return sentiment(spec)
        case RepetitionReward():
            return repetition(spec)
        case MultiReward():
            named = {
                name: part.model_copy(update={"name": name}) for name, part in spec.graders.items()
            }
            built = {name: _build(part, folders, device) for name, part in named.items()}
            return Multi(spec.name, built, Formula.parse(spec.calculate_output))
        case BlendReward():
            parts = tuple(_build(part, folders, device) for part in distinct(spec.rewards))
            return Blend(parts, spec.weights)
        case HttpReward() | ScoreModelReward() | LabelModelReward() | PythonReward():
            return build_judge(spec)
        case RewardModelReward():
            return load_scorer(spec.name, spec.model, folders, device)
        case EnsembleReward():
            members = tuple(load_scorer(spec.name, m, folders, device) for m in spec.models)
            return Ensemble(spec, members)


def load_scorer(
    name: str, model: FolderModel | StageModel, folders: Mapping[str, Path], device: str
) -> RewardFunction:
    """A reward model as a reward. Raises ModelError."""
    # Torch is loaded only where a network scores.
    import torch

    from rlhf_service.reward.reward_model import RewardModelScorer

    folder = folders[model.stage] if model.type == "stage" else Path(model.path)
    return RewardModelScorer.load(name, folder, torch.device(device))


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
