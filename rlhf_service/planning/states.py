"""What one engine holds on one rank: weights, master weights, gradients, Adam, and DeepSpeed's buffers.

Read from DeepSpeed's optimisers (0.19) and checked against measured peaks: docs/planner.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_service.spec.learner import LearnerSpec

FP32 = 4
BUCKET = 500_000_000
"""Elements of DeepSpeed's reduce bucket, and of the buffer that its plain path flattens into."""
LIVE = 1_000_000_000
"""Parameters that ZeRO-3 may have gathered at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """Bytes on the rank's device, and in the host's memory where they are offloaded."""

    weights: float
    """As the forward pass reads them, the frozen ones among them."""
    master: float
    """fp32 copies that Adam steps; 0 where the weights themselves are stepped."""
    gradients: float
    optimizer: float
    """Adam's two moments."""
    buffers: float
    """DeepSpeed's, beside the backward pass."""
    step: float
    """Taken in an optimiser step on top: the flat gradient, Adam's temporaries."""
    host: float = 0.0

    @property
    def resident(self) -> float:
        """While passes run."""
        return self.weights + self.master + self.gradients + self.optimizer + self.buffers


def engine_states(
    learner: LearnerSpec, ranks: int, trained: int, frozen: int, largest: int
) -> States:
    """Of an engine with so many parameters; `largest` those of its largest tensor."""
    element = 2 if learner.precision == "bf16" else FP32
    if learner.zero_stage == 0:
        return _plain(element, trained, frozen, largest)
    if learner.zero_stage == 3:
        found = _three(element, ranks, trained, frozen)
    else:
        found = _one_or_two(element, ranks, trained, frozen, learner.zero_stage)
    return _offloaded(found) if learner.offload_optimizer else found


def _plain(element: int, trained: int, frozen: int, largest: int) -> States:
    mixed = element != FP32
    return States(
        weights=element * (trained + frozen),
        master=FP32 * trained if mixed else 0.0,
        gradients=element * trained,
        optimizer=2 * FP32 * trained,
        buffers=0.0,
        # Gradients are flattened to be reduced, on one rank too; mixed, they are then made fp32.
        step=element * min(trained, BUCKET) + (FP32 * trained if mixed else 2 * FP32 * largest),
    )


def _one_or_two(element: int, ranks: int, trained: int, frozen: int, stage: int) -> States:
    own = trained / ranks
    kept = element * own if stage == 1 or element != FP32 else 0.0
    return States(
        weights=element * (trained + frozen),
        master=FP32 * own,
        gradients=kept,
        optimizer=2 * FP32 * own,
        buffers=element * min(trained, BUCKET),
        step=3 * FP32 * own,
    )


def _three(element: int, ranks: int, trained: int, frozen: int) -> States:
    own, whole = trained / ranks, trained + frozen
    return States(
        weights=element * whole / ranks + element * min(whole, LIVE),
        master=FP32 * own,
        gradients=element * own if element != FP32 else 0.0,
        optimizer=2 * FP32 * own,
        # The reduce bucket, its scattered copy, and what is left of the network as it was loaded.
        buffers=2 * element * min(trained, BUCKET) + FP32 * min(whole, BUCKET),
        step=3 * FP32 * own,
    )


def frozen_bytes(learner: LearnerSpec, ranks: int, element: int, parameters: int) -> float:
    """Of a network that does not learn, on one rank: under ZeRO-3 its part, and what is gathered at once
    while it answers."""
    if learner.zero_stage < 3:
        return float(element * parameters)
    return element * parameters / ranks + element * min(parameters, LIVE)


def _offloaded(found: States) -> States:
    """Master weights, moments and the step move to the host, with the gradients it reads."""
    moved = found.master + found.optimizer + found.step
    return States(
        weights=found.weights,
        master=0.0,
        gradients=found.gradients,
        optimizer=0.0,
        buffers=found.buffers,
        step=0.0,
        host=moved,
    )
