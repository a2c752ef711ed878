"""JobSpec, the only configuration of a job, and its sections. Import-light: pydantic only."""

from __future__ import annotations

from rlhf_service.spec.data import DataSpec
from rlhf_service.spec.job import CheckpointSpec, JobSpec, RecoverySpec
from rlhf_service.spec.learner import LearnerSpec, OptimizerSpec
from rlhf_service.spec.model import FolderModel, ModelSpec, ScratchModel, StageModel
from rlhf_service.spec.ppo import GateSpec, KlSpec, PpoSpec, SamplingSpec
from rlhf_service.spec.resources import LearnerResources, PoolResources, ResourceSpec
from rlhf_service.spec.reward import RewardSpec
from rlhf_service.spec.rollout import (
    EngineSpec,
    RolloutSpec,
    TransformersEngineSpec,
    VllmEngineSpec,
)
from rlhf_service.spec.stages import (
    DpoStage,
    EvaluationSpec,
    PpoStage,
    PretrainStage,
    RewardStage,
    SftStage,
    StageSpec,
)

__all__ = [
    "CheckpointSpec",
    "DataSpec",
    "DpoStage",
    "EngineSpec",
    "EvaluationSpec",
    "FolderModel",
    "GateSpec",
    "JobSpec",
    "KlSpec",
    "LearnerResources",
    "LearnerSpec",
    "ModelSpec",
    "OptimizerSpec",
    "PoolResources",
    "PpoSpec",
    "PpoStage",
    "PretrainStage",
    "RecoverySpec",
    "ResourceSpec",
    "RewardSpec",
    "RewardStage",
    "RolloutSpec",
    "SamplingSpec",
    "ScratchModel",
    "SftStage",
    "StageModel",
    "StageSpec",
    "TransformersEngineSpec",
    "VllmEngineSpec",
]
