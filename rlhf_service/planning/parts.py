"""Where a job runs, and what its stages are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rlhf_service.planning.device import DeviceProfile
from rlhf_service.planning.memory import Trained
from rlhf_service.planning.networks import Networks, Unknown
from rlhf_service.planning.shape import Shape
from rlhf_service.planning.workload import Work, work_of
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.reward import models_in
from rlhf_service.spec.stages import PpoStage, RewardStage, StageSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a job would run."""

    host: DeviceProfile | None
    """The machine, as `rlhf calibrate` measured it."""
    gpu: DeviceProfile | None = None
    """For jobs whose learners reserve GPUs."""

    @classmethod
    def of(cls, profiles: Iterable[DeviceProfile | None]) -> Setting:
        """Of what there is; of several of one kind, the first."""
        kinds: dict[str, DeviceProfile] = {}
        for profile in profiles:
            if profile is not None:
                kinds.setdefault(profile.kind, profile)
        return cls(host=kinds.get("cpu"), gpu=kinds.get("cuda"))

    def device(self, spec: JobSpec) -> DeviceProfile | None:
        """What learners compute on."""
        return self.gpu if spec.resources.on_gpu else self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class StageParts:
    """What a stage is made of, as far as planning goes."""

    stage: StageSpec
    work: Work
    policy: Trained
    critic: Trained | None
    scorers: tuple[Shape, ...] | None
    """Of the reward; None when one is not known."""


def stage_parts(spec: JobSpec, stage: StageSpec, networks: Networks) -> StageParts | Unknown:
    """The stage's networks; Unknown when what it trains is."""
    shape = networks.start_of(stage)
    if isinstance(shape, Unknown):
        return shape
    work = work_of(spec, stage)
    if isinstance(stage, RewardStage):
        policy = Trained(shape=shape, parameters=shape.scorer, lora=stage.adapter, head=shape.width)
        return StageParts(stage=stage, work=work, policy=policy, critic=None, scorers=())
    policy = Trained(shape=shape, parameters=shape.causal, lora=stage.adapter)
    if not isinstance(stage, PpoStage):
        return StageParts(stage=stage, work=work, policy=policy, critic=None, scorers=())
    critic = critic_of(spec, stage, shape, networks)
    if isinstance(critic, Unknown):
        return critic
    scorers = scorers_of(stage, networks)
    return StageParts(stage=stage, work=work, policy=policy, critic=critic, scorers=scorers)


def critic_of(
    spec: JobSpec, stage: PpoStage, policy: Shape, networks: Networks
) -> Trained | Unknown | None:
    """The value network, if the method has one."""
    if not stage.ppo.has_critic:
        return None
    shape = policy if stage.critic is None else networks.of(stage.critic)
    if isinstance(shape, Unknown):
        return shape
    shares = stage.critic is None and stage.adapter is not None and spec.learner.zero_stage < 3
    return Trained(
        shape=shape,
        parameters=shape.value,
        lora=stage.adapter,
        head=shape.width,
        shared=shares,
    )


def scorers_of(stage: PpoStage, networks: Networks) -> tuple[Shape, ...] | None:
    """Networks of the reward; None when one is not known."""
    found = [
        networks.of(model) for _, reward in stage.rewards() for _, model in models_in(reward, "")
    ]
    if any(isinstance(shape, Unknown) for shape in found):
        return None
    return tuple(shape for shape in found if isinstance(shape, Shape))
