"""What the ranks of a learner group pass to each other in a step."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_service.planning.device import EngineCost
from rlhf_service.planning.memory import Trained
from rlhf_service.planning.workload import Work

GATHERED = 2 / 3
"""Share of what ZeRO 3 passes on for a weight that learns; the rest scatters its gradient."""


ALONE = 1 / 3
"""Share of it that a forward pass alone takes: one gathering of three exchanges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """Of one network, what an engine's hooks and steps handle."""

    tensors: float
    """Parameter tensors in a pass forward and backward."""
    parameters: float
    """Parameters in such a pass."""
    step_tensors: float
    """Parameter tensors in an optimiser step."""
    step_parameters: float
    """Parameters in a step, of all ranks together."""

    @classmethod
    def of(cls, trained: Trained, zero: int) -> Handled:
        whole = trained.shape.tensors
        learn = whole
        if trained.lora is not None:
            learn = 2 * trained.shape.layers * len(trained.shape.adapted(trained.lora))
        # ZeRO 3 gathers what does not learn, too.
        frozen = trained.frozen if zero == 3 else 0
        return cls(
            tensors=learn + (whole if frozen else 0),
            parameters=trained.learning + GATHERED * frozen,
            step_tensors=learn,
            step_parameters=trained.learning,
        )


def seconds_exchanged(cost: EngineCost, work: Work, handled: Handled, ranks: int) -> float:
    """Of each of `ranks`, from what each of two takes beyond one.

    In a ring each byte passes 2 (n − 1) ÷ n times, in n − 1 rounds (Patarasuk and Yuan, 2009).
    """
    rounds, passed = ranks - 1, 2 * (ranks - 1) / ranks
    each_pass = pass_exchanged(cost, handled, ranks)
    step = rounds * cost.step_per_tensor * handled.step_tensors
    step += passed * cost.step_per_parameter * handled.step_parameters
    return work.updates * each_pass + work.optimizer_steps * step


def bytes_exchanged(work: Work, trained: Trained, zero: int, element: int, ranks: int) -> float:
    """Of each of `ranks` in a step, where only the speed of a link is known."""
    gradient, passed = element * trained.learning, 2 * (ranks - 1) / ranks
    match zero:
        case 0:
            return passed * work.optimizer_steps * gradient
        case 1 | 2:
            # ZeRO 2 scatters the gradient of every microbatch, ZeRO 1 of all of them at once.
            reduced = work.updates if zero == 2 else work.optimizer_steps
            return passed * (reduced * gradient + work.optimizer_steps * gradient / 2)
        case _:
            whole = element * (trained.learning + trained.frozen)
            # Gathered forward and backward at half an all-reduce each, as is the scattered gradient.
            return passed * work.updates * (whole + gradient / 2)


def seconds_gathered(cost: EngineCost, handled: Handled, ranks: int) -> float:
    """Of each of `ranks` in one pass without gradients under ZeRO 3, from what each of two takes."""
    return ALONE * pass_exchanged(cost, handled, ranks)


def pass_exchanged(cost: EngineCost, handled: Handled, ranks: int) -> float:
    """Of each of `ranks` in one pass forward and backward."""
    rounds, passed = ranks - 1, 2 * (ranks - 1) / ranks
    return (
        rounds * cost.per_tensor * handled.tensors
        + passed * cost.per_parameter * handled.parameters
    )


def bytes_gathered(trained: Trained, element: int, ranks: int) -> float:
    """The same where only the speed of a link is known: bytes."""
    return (ranks - 1) / ranks * element * (trained.learning + trained.frozen)
