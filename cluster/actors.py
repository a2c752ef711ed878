"""The processes of the pools: thin Ray shells around a rollout engine and a reward.

Each request carries everything it depends on, so an actor that restarts needs no set-up call. What
goes wrong inside is an answer (`Refused`), never an exception: an exception means the actor died.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray

from cluster.meters import RayMeters
from cluster.peaks import measured
from cluster.readings import of_rollouts, of_scores
from cluster.signs import vitals_of_process
from cluster.weights.object_store import ObjectStoreChannel
from cluster.weights.receiver import Delivery, Receiver
from rlhf_service.errors import RlhfError, WeightsCorrupt, WeightsUnavailable
from rlhf_service.events import MemoryMeasured
from rlhf_service.ports import RewardFunction
from rlhf_service.records import Prompt, Rollout, ScoreOutcome
from rlhf_service.spec.learner import Precision
from rlhf_service.spec.ppo import SamplingSpec
from rlhf_service.spec.reward import RewardSpec
from rlhf_service.spec.rollout import EngineSpec
from rlhf_service.tracing.build import tracer_of_process


@dataclass(frozen=True, slots=True)
class Refused:
    """The actor lives but cannot serve this request."""

    error: RlhfError
    transient: bool
    """True when asking again may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One batch of prompts for one policy version."""

    model: Path
    """Folder with the network's config and tokenizer."""
    precision: Precision
    engine: EngineSpec
    version: int
    prompts: tuple[Prompt, ...]
    sampling: SamplingSpec
    seed: int
    traceparent: str = ""
    """The span that asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """One batch of rollouts for one reward."""

    reward: RewardSpec
    folders: Mapping[str, Path]
    rollouts: tuple[Rollout, ...]
    traceparent: str = ""
    """The span that asks."""


def peak_of(actor: object, role: Literal["rollout", "reward"], number: int) -> MemoryMeasured:
    """For an actor's `apply`: the most memory that its process has held."""
    return measured(role, number)


class RolloutActor:
    """Serves GenerateRequests."""

    def __init__(
        self,
        label: str,
        vitals: Path,
        store: ray.actor.ActorHandle,
        device: str,
        threads: int,
    ) -> None:
        self._vitals = vitals_of_process(vitals, role_of(label))
        self._label, self._device = label, device
        self._weights = Receiver(ObjectStoreChannel(store), device)
        self._meters = RayMeters.of_actor(label)
        self._engine: Any = None
        self._built: tuple[EngineSpec, Path, Precision] | None = None
        self._tracer = tracer_of_process("rlhf-rollout")
        self._threads, self._warming = threads, prepare_process(threads)
        self._vitals.rest()

    def __repr__(self) -> str:
        return self._label

    def ping(self) -> str:
        return "pong"

    def apply(self, func: Callable[..., object], *args: object, **kwargs: object) -> object:
        return func(self, *args, **kwargs)

    def stand_by(self) -> None:
        """Answers whoever wants to know that it can receive weights."""

    def receive(self, delivery: Delivery) -> str | None:
        """Take part in a broadcast of weights. What went wrong, if anything did."""
        return self._weights.receive(delivery)

    def leave(self, group: str) -> None:
        """End a broadcast of weights that is under way in that group."""
        self._weights.leave(group)

    def generate(self, request: GenerateRequest) -> list[Rollout] | Refused:
        rows = len(request.prompts)
        span = self._tracer.span(
            "actor generate", request.traceparent, actor=self._label, rows=rows
        )
        with span, self._vitals.during(f"take in {rows} prompts, version {request.version}"):
            return self._generate(request)

    def _generate(self, request: GenerateRequest) -> list[Rollout] | Refused:
        try:
            engine = self._engine_for(request)
            rows, version = len(request.prompts), request.version
            if engine.version != version:
                self._vitals.enter(f"fetch weights, version {version}")
                engine.load_weights(self._weights.fetch(request.version))
                self._weights.taken_over()
            self._vitals.enter(f"generate for {rows} prompts, version {version}")
            with self._meters.timed("rlhf_rollout_duration_seconds"):
                rollouts: list[Rollout] = engine.generate(
                    request.prompts, request.sampling, version=request.version, seed=request.seed
                )
            self._meters.take(of_rollouts(rollouts, request.version))
            return rollouts
        except (WeightsUnavailable, WeightsCorrupt) as fault:
            return Refused(fault, transient=True)
        except RlhfError as fault:
            return Refused(fault, transient=False)

    def _engine_for(self, request: GenerateRequest) -> Any:
        built = (request.engine, request.model, request.precision)
        if self._built != built:
            self._vitals.enter("build the rollout engine")
            self._warming.join()
            import torch

            from rlhf_service.rollout.build import build_served

            torch.set_num_threads(self._threads)
            self._engine = None  # makes room first
            self._engine = build_served(*built, self._device, self._threads)
            self._built = built
        return self._engine


class RewardActor:
    """Serves ScoreRequests."""

    def __init__(self, label: str, vitals: Path, device: str, threads: int) -> None:
        self._vitals = vitals_of_process(vitals, role_of(label))
        self._label, self._device = label, device
        self._rewards: dict[str, RewardFunction] = {}
        self._tracer = tracer_of_process("rlhf-reward")
        self._meters = RayMeters.of_actor(label)
        self._threads, self._warming = threads, prepare_process(threads)
        self._vitals.rest()

    def __repr__(self) -> str:
        return self._label

    def ping(self) -> str:
        return "pong"

    def apply(self, func: Callable[..., object], *args: object, **kwargs: object) -> object:
        return func(self, *args, **kwargs)

    def score(self, request: ScoreRequest) -> list[ScoreOutcome] | Refused:
        rows = len(request.rollouts)
        span = self._tracer.span("actor score", request.traceparent, actor=self._label, rows=rows)
        with span, self._vitals.during(f"take in {rows} responses"):
            return self._score(request)

    def _score(self, request: ScoreRequest) -> list[ScoreOutcome] | Refused:
        try:
            reward = self._reward_for(request)
            self._vitals.enter(f"score {len(request.rollouts)} responses")
            with self._meters.timed("rlhf_score_duration_seconds"):
                outcomes = list(reward.score(request.rollouts))
            self._meters.take(of_scores(outcomes))
            return outcomes
        except RlhfError as fault:
            return Refused(fault, transient=False)
        except Exception:
            raised = RlhfError(f"the reward raised: {traceback.format_exc(limit=3)}")
            return Refused(raised, transient=False)

    def _reward_for(self, request: ScoreRequest) -> RewardFunction:
        wanted = request.reward.model_dump_json()
        if wanted not in self._rewards:
            self._vitals.enter("build the reward")
            self._warming.join()
            import torch

            from rlhf_service.reward.build import build_reward

            torch.set_num_threads(self._threads)
            self._rewards[wanted] = build_reward(request.reward, request.folders, self._device)
        return self._rewards[wanted]


def role_of(label: str) -> str:
    """`rollout-0` of `rlhf/<job>/rollout-0`."""
    return label.rpartition("/")[2]


def prepare_process(threads: int) -> threading.Thread:
    """Pin this process's threads and import what requests need, in the background.

    The imports cost seconds of CPU while the learners work on the same cores; the thread that does
    them yields to everything else. The first request joins it.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)

    def warm() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        import torch

        torch.set_num_threads(threads)
        importlib.import_module("transformers.models.auto.modeling_auto")

    thread = threading.Thread(target=warm, name="warm", daemon=True)
    thread.start()
    return thread
