"""What one process of each role holds at most."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_service.planning.activations import FP32, Pass, saved_bytes, score_bytes
from rlhf_service.planning.device import Loss
from rlhf_service.planning.shape import Shape
from rlhf_service.planning.states import States, engine_states, frozen_bytes
from rlhf_service.planning.workload import Work
from rlhf_service.spec.adapter import LoraSpec
from rlhf_service.spec.learner import LearnerSpec

Parts = dict[str, float]
"""Name → bytes."""

AROUND = 50 * 2**20
"""Bytes of a process's threads, allocator and small things, once it works."""
CONNECTED = 45 * 2**20
"""The same for its connections to other ranks."""
SHARDED = 44 * 2**20
"""Code that DeepSpeed loads for ZeRO 1 to 3."""
FREED = 64 * 2**20
"""Bytes of freed tensors of its passes that a process keeps at most. glibc puts blocks of up to 32 MiB
on its heap, where they stay for later ones; two of them are what was found."""
KEPT_VERSIONS = 2
"""Published versions that stay in the object store besides stale ones (ports.py)."""
SCORED_ROWS = 32
"""Rows that a reward model reads together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network under an engine."""

    shape: Shape
    parameters: int
    """Of the whole network, its head included."""
    lora: LoraSpec | None = None
    head: int = 0
    """Parameters of a head that learns beside an adapter."""
    shared: bool = False
    """Its frozen weights are another engine's."""

    @property
    def learning(self) -> int:
        """Parameters that learn."""
        if self.lora is None:
            return self.parameters
        return self.shape.adapter(self.lora) + self.head

    @property
    def frozen(self) -> int:
        return 0 if self.lora is None or self.shared else self.parameters - self.head

    def states(self, learner: LearnerSpec, ranks: int) -> States:
        largest = max(self.shape.vocab * self.shape.width, *(m.weights for m in self.shape.block))
        return engine_states(
            learner, ranks, self.learning, self.frozen, min(largest, self.learning)
        )


def element_of(learner: LearnerSpec) -> int:
    """Bytes of a number in forward and backward passes."""
    return 2 if learner.precision == "bf16" else FP32


def learner_parts(
    learner: LearnerSpec,
    ranks: int,
    work: Work,
    policy: Trained,
    critic: Trained | None,
    published: int,
) -> Parts:
    """One rank of the learner group in one stage, its process left out.

    `published`: copies of the policy that the first rank makes to publish it.
    """
    element = element_of(learner)
    engines = [policy.states(learner, ranks)] + (
        [critic.states(learner, ranks)] if critic is not None else []
    )
    widest = widest_pass(element, work, policy, critic)
    step = max(states.step for states in engines)
    found: Parts = {
        "weights": sum(s.weights for s in engines),
        "master weights": sum(s.master for s in engines),
        "gradients": sum(s.gradients for s in engines),
        "optimizer": sum(s.optimizer for s in engines),
        "buffers of the engine": sum(s.buffers for s in engines),
    }
    # Passes and optimiser steps take turns.
    found |= widest if sum(widest.values()) > step else {"optimizer step": step}
    if published:
        whole = element * (policy.learning if policy.lora else policy.parameters)
        if policy.lora is None:
            found["reference"] = frozen_bytes(learner, ranks, element, policy.parameters)
        found["published weights"] = published * whole
    if policy.lora is not None:
        # At the end the base is read again, in fp32, and the adapter merged into it.
        reread = FP32 * policy.parameters
        taken = sum(bytes for name, bytes in found.items() if name in (*widest, "optimizer step"))
        if reread > taken:
            for name in (*widest, "optimizer step"):
                found.pop(name, None)
            found["merging the adapter"] = reread
    return found


def widest_pass(element: int, work: Work, policy: Trained, critic: Trained | None) -> Parts:
    """Of the networks' passes forward and backward, which take turns."""
    passes = [pass_parts(policy, work.update, element, work.loss)]
    if critic is not None:
        scalar = Pass(rows=work.update.rows, length=work.update.length, predicted=0, learnt=0)
        passes.append(pass_parts(critic, scalar, element, None))
    return max(passes, key=lambda parts: sum(parts.values()))


def process_parts(
    learner: LearnerSpec, ranks: int, work: Work, policy: Trained, critic: Trained | None
) -> Parts:
    """What a rank's process on a CPU holds beside its tensors."""
    element = element_of(learner)
    passes = sum(widest_pass(element, work, policy, critic).values())
    found = {"freed tensors": min(float(FREED), passes)}
    if work.loss == "policy":  # the only stages that pack their rows
        networks = [policy] if critic is None else [policy, critic]
        scores = max(score_bytes(one.shape, work.update, element) for one in networks)
        found |= {"attention's scores": scores} if scores else {}
    if learner.zero_stage > 0:
        found["sharding"] = float(SHARDED)
    if ranks > 1:
        found["connections"] = float(CONNECTED)
    return found


def host_bytes(learner: LearnerSpec, ranks: int, engines: list[Trained]) -> float:
    """What one rank keeps in the host's memory while it computes on a GPU."""
    return sum(trained.states(learner, ranks).host for trained in engines)


def pass_parts(trained: Trained, one: Pass, element: int, loss: Loss | None) -> Parts:
    """A pass forward and backward at its widest: where the loss is taken."""
    parts: Parts = {"activations": saved_bytes(trained.shape, one, element, trained.lora)}
    vocab = trained.shape.vocab
    if loss == "language":
        copied = element if element != FP32 else 0
        parts["logits"] = vocab * (one.predicted * element + one.learnt * (copied + 2 * FP32))
    elif loss == "policy":
        # The logits and their gradient; the softmax is worked out in chunks.
        parts["logits"] = 2.0 * vocab * one.predicted * element
    return parts


def rollout_parts(
    shape: Shape, element: int, rows: int, prompt: int, new: int, lora: LoraSpec | None
) -> Parts:
    """An actor that answers so many prompts at once. What it fetches weighs here when it comes by
    broadcast; in the object store it is shared, and counted there.
    """
    length = prompt + new
    weights = element * shape.causal
    fetched = element * (shape.adapter(lora) if lora else shape.causal)
    return {
        "weights": weights + (fetched if lora else 0),
        "weights as fetched": fetched,
        "cache": shape.cache_bytes(rows * length, rows, element),
        "logits": rows * shape.vocab * (element + 2 * FP32 + 3 * 8),
        "first pass": 4 * rows * prompt * max(shape.inner, shape.width) * element,
    }


def reward_parts(shapes: list[Shape], length: int) -> Parts:
    """An actor with those reward models, in fp32."""
    found: Parts = {"weights": float(sum(FP32 * shape.scorer for shape in shapes))}
    widest = max((max(s.inner, s.width) for s in shapes), default=0)
    found["passes"] = 4.0 * SCORED_ROWS * length * widest * FP32
    return found
