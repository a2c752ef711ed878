"""Seconds of a stage's steps, phase by phase."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf_service.planning.activations import Pass
from rlhf_service.planning.device import DeviceProfile, EngineCost
from rlhf_service.planning.exchange import (
    ALONE,
    Handled,
    bytes_exchanged,
    bytes_gathered,
    seconds_exchanged,
    seconds_gathered,
)
from rlhf_service.planning.memory import SCORED_ROWS, Trained, element_of
from rlhf_service.planning.records import Estimate, Phase, longest, total
from rlhf_service.planning.seconds import Machine
from rlhf_service.planning.shape import Shape
from rlhf_service.planning.workload import Work
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.judges import HttpReward, LabelModelReward, PythonReward, ScoreModelReward
from rlhf_service.spec.reward import EnsembleReward, RewardModelReward, RewardSpec, parts_of
from rlhf_service.spec.rollout import VllmEngineSpec
from rlhf_service.spec.stages import PpoStage, StageSpec

OUTSIDE = (HttpReward, ScoreModelReward, LabelModelReward, PythonReward)
AHEAD: tuple[Phase, ...] = ("generate", "judge")
"""Phases that a stage with staleness does while earlier batches are learnt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Times the steps of one job on one device."""

    spec: JobSpec
    profile: DeviceProfile

    def machine(self, threads: int, precision: str | None = None) -> Machine | None:
        """A process with so many threads; None for a precision that was not measured."""
        wanted = self.spec.learner.precision if precision is None else precision
        one = 1 if self.profile.kind == "cuda" else threads
        arithmetic = self.profile.arithmetic("bf16" if wanted == "bf16" else "fp32", one)
        if arithmetic is None:
            return None
        element = 2 if wanted == "bf16" else 4
        return Machine(profile=self.profile, arithmetic=arithmetic, element=element)

    def phases(
        self,
        stage: StageSpec,
        work: Work,
        policy: Trained,
        critic: Trained | None,
        scorers: Sequence[Shape] | None,
    ) -> dict[Phase, Estimate]:
        """`scorers` are the reward's networks; None when one of them is not known."""
        machine = self.machine(self.spec.resources.learner.num_threads)
        if machine is None:
            why = f"{self.spec.learner.precision} was not measured on {self.profile.name}"
            return {"update": Estimate.none(why)}
        engines = [policy] + ([critic] if critic is not None else [])
        update = self._update(machine, work, engines)
        if not isinstance(stage, PpoStage):
            return {"update": update}
        return {
            "generate": self.generate(policy, work.prompts, work.prompt_length, work.new_tokens),
            "judge": self.judge(stage.reward, work, scorers),
            "annotate": self._annotate(machine, work, policy, critic),
            "update": update,
            "publish": self._publish(policy),
        }

    def step(self, stage: StageSpec, phases: Mapping[Phase, Estimate]) -> Estimate:
        """Seconds of a step: its phases one after the other, or those of the pools beside those of
        the learners where the stage samples ahead.
        """
        if not isinstance(stage, PpoStage) or not stage.max_staleness:
            return total(phases.values())
        pools = total(phases[name] for name in AHEAD if name in phases)
        learners = total(found for name, found in phases.items() if name not in AHEAD)
        beside = longest([pools, learners])
        if beside.value is None or self.profile.kind == "cuda":
            return beside
        # Where both need more cores than there are, neither gets on as if it were alone.
        busy = sum(
            (found.value or 0.0) * min(self._threads_of(name), self.profile.cores)
            for name, found in phases.items()
        )
        least = busy / self.profile.cores
        return beside.model_copy(update={"value": max(beside.value, least)})

    def _threads_of(self, phase: Phase) -> int:
        """Threads that are busy in a phase, over all processes of its role."""
        resources = self.spec.resources
        match phase:
            case "generate":
                return resources.rollout.num_actors * resources.rollout.num_threads
            case "judge":
                return resources.reward.num_actors * resources.reward.num_threads
            case _:
                return resources.learner.num_workers * resources.learner.num_threads

    def generate(self, policy: Trained, prompts: int, length: int, new: int) -> Estimate:
        """Seconds until every rollout actor has answered its share."""
        if isinstance(self.spec.rollout.engine, VllmEngineSpec):
            return Estimate.none("how fast vLLM draws was not measured")
        pool = self.spec.resources.rollout
        machine = self.machine(pool.num_threads)
        if machine is None:
            return Estimate.none(f"{self.spec.learner.precision} was not measured")
        rows = math.ceil(prompts / pool.num_actors)
        at_once = self.spec.rollout.engine.max_sequences
        seconds = machine.generate(policy.shape, rows, length, new, at_once)
        return Estimate(value=seconds * self._crowd(pool.num_actors, pool.num_threads))

    def judge(self, reward: RewardSpec, work: Work, scorers: Sequence[Shape] | None) -> Estimate:
        """Seconds until every reward actor has scored its share."""
        parts = [part for _, part in parts_of(reward, "")]
        outside = [part.type for part in parts if isinstance(part, OUTSIDE)]
        if outside:
            return Estimate.none(f"how long a {outside[0]} reward takes is known once it is asked")
        rules = [p.type for p in parts if not isinstance(p, RewardModelReward | EnsembleReward)]
        if rules:
            return Estimate.none(f"the time of a {rules[0]} reward is not measured (often small)")
        pool = self.spec.resources.reward
        machine = self.machine(pool.num_threads, "fp32")
        if scorers is None or machine is None:
            return Estimate.none("the reward model is not known")
        rows = math.ceil(work.prompts / pool.num_actors)
        length = work.prompt_length + work.new_tokens
        whole, rest = divmod(rows, SCORED_ROWS)
        seconds = sum(
            count
            * machine.forward(s, Pass(rows=n, length=length, predicted=0, learnt=0), None, None)
            for s in scorers
            for count, n in ((whole, SCORED_ROWS), (1, rest))
            if count and n
        )
        return Estimate(value=seconds * self._crowd(pool.num_actors, pool.num_threads))

    def _annotate(
        self, machine: Machine, work: Work, policy: Trained, critic: Trained | None
    ) -> Estimate:
        assert work.annotate is not None
        one = work.annotate
        # The policy, and the reference beside it.
        seconds = 2 * machine.forward(policy.shape, one, "policy", None)
        if critic is not None:
            scalar = Pass(rows=one.rows, length=one.length, predicted=0, learnt=0)
            seconds += machine.forward(critic.shape, scalar, None, None)
        learner, ranks = self.spec.learner, self.spec.resources.learner.num_workers
        networks = [policy, policy] + ([critic] if critic is not None else [])
        if learner.zero_stage == 3:  # which has hooks before and after every layer, there and back
            seconds += ALONE * sum(machine.hooks(3, Handled.of(one, 3)) for one in networks)
        known = Estimate(value=work.annotations * seconds * self._learners())
        if ranks == 1 or learner.zero_stage < 3:
            return known
        return total([known, self._gathered(machine, work, networks)])

    def _gathered(self, machine: Machine, work: Work, networks: Sequence[Trained]) -> Estimate:
        """What ranks pass to each other to annotate under ZeRO 3."""
        zero, ranks = self.spec.learner.zero_stage, self.spec.resources.learner.num_workers
        cost = self._measured(machine, ranks)
        if cost is not None:
            seconds = sum(seconds_gathered(cost, Handled.of(one, zero), ranks) for one in networks)
            return Estimate(value=work.annotations * seconds * self._learners())
        element = element_of(self.spec.learner)
        moved = sum(bytes_gathered(one, element, ranks) for one in networks)
        return self._by_link(work.annotations * moved, ranks)

    def _update(self, machine: Machine, work: Work, engines: Sequence[Trained]) -> Estimate:
        learner, ranks = self.spec.learner, self.spec.resources.learner.num_workers
        zero, seconds = learner.zero_stage, 0.0
        for number, trained in enumerate(engines):
            first = number == 0
            one = work.update
            if not first:
                one = Pass(rows=one.rows, length=one.length, predicted=0, learnt=0)
            both = machine.both(trained.shape, one, work.loss if first else None, trained.lora)
            handled = Handled.of(trained, zero)
            seconds += work.updates * (both + machine.hooks(zero, handled))
            seconds += work.optimizer_steps * machine.step(zero, handled, ranks if zero else 1)
        known = Estimate(value=seconds * self._learners())
        return known if ranks == 1 else total([known, self._exchange(machine, work, engines)])

    def _exchange(self, machine: Machine, work: Work, engines: Sequence[Trained]) -> Estimate:
        """What ranks pass to each other in a step: as two of them were measured, else by the link."""
        zero, ranks = self.spec.learner.zero_stage, self.spec.resources.learner.num_workers
        cost = self._measured(machine, ranks)
        if cost is not None:
            seconds = sum(
                seconds_exchanged(cost, work, Handled.of(one, zero), ranks) for one in engines
            )
            return Estimate(value=seconds * self._learners())
        element = element_of(self.spec.learner)
        moved = sum(bytes_exchanged(work, one, zero, element, ranks) for one in engines)
        return self._by_link(moved, ranks)

    def _measured(self, machine: Machine, ranks: int) -> EngineCost | None:
        """What an exchange takes each of two ranks; None where it was not measured, or is another."""
        if ranks > self.profile.per_machine:
            return None
        return machine.arithmetic.exchanges.get(str(self.spec.learner.zero_stage))

    def _by_link(self, moved: float, ranks: int) -> Estimate:
        """Seconds of so many bytes between the ranks."""
        link, profile = self.profile.link, self.profile
        if link is not None and profile.network and ranks > profile.per_machine:
            link = min(link, profile.network)
        if link is None:
            return Estimate.none("the speed between ranks is not known")
        return Estimate(value=moved / link)

    def _publish(self, policy: Trained) -> Estimate:
        if self.profile.store is None or self.profile.digest is None:
            return Estimate.none("the object store's speed is not known")
        element = element_of(self.spec.learner)
        whole = element * (policy.learning if policy.lora else policy.parameters)
        return Estimate(value=whole / self.profile.store + whole / self.profile.digest)

    def _learners(self) -> float:
        own = self.spec.resources.learner
        return self._crowd(own.num_workers, own.num_threads)

    def _crowd(self, processes: int, threads: int) -> float:
        """How much longer it takes when processes share too few cores."""
        if self.profile.kind == "cuda":
            return 1.0
        return max(1.0, processes * threads / self.profile.cores)
