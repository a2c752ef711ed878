"""Whether what a job holds is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_service.planning.device import DeviceProfile
from rlhf_service.planning.records import RoleMemory
from rlhf_service.spec.job import JobSpec

GIB = 2**30
USABLE = 0.92
"""Share of a device's memory that processes can count on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it fits; None when that cannot be said. `reasons` name what does not, or why."""

    fits: bool | None
    reasons: tuple[str, ...] = ()


def fit(
    spec: JobSpec,
    memory: Sequence[RoleMemory],
    host: DeviceProfile | None,
    gpu: DeviceProfile | None,
) -> Verdict:
    """Of all that is known: too much of one thing is enough for a no."""
    found = [_on_host(memory, host)]
    if any(role.on == "cuda" for role in memory):
        found.append(_on_gpus(spec, memory, gpu))
    reasons = tuple(reason for verdict in found for reason in verdict.reasons)
    if any(verdict.fits is False for verdict in found):
        return Verdict(False, reasons)
    return Verdict(None if any(v.fits is None for v in found) else True, reasons)


def _on_host(memory: Sequence[RoleMemory], host: DeviceProfile | None) -> Verdict:
    """Processes on CPUs share one machine's memory."""
    if host is None:
        return Verdict(None, ("the machine's memory is not known; run `rlhf calibrate` on it",))
    here = [role for role in memory if role.on == "cpu"]
    needed = sum((role.bytes.value or 0) * role.processes for role in here)
    usable = USABLE * host.memory
    if needed > usable:
        most = max(here, key=lambda role: (role.bytes.value or 0) * role.processes)
        return Verdict(
            False,
            (
                f"the processes hold {needed / GIB:.1f} GiB, of which {most.processes} × {most.role} "
                f"{(most.bytes.value or 0) * most.processes / GIB:.1f} GiB; the machine has "
                f"{usable / GIB:.1f} GiB to give",
            ),
        )
    unknown = [role for role in here if role.bytes.value is None or role.bytes.at_least]
    if unknown:
        return Verdict(None, tuple(f"{r.role}: {r.bytes.unavailable}" for r in unknown))
    return Verdict(True)


def _on_gpus(spec: JobSpec, memory: Sequence[RoleMemory], gpu: DeviceProfile | None) -> Verdict:
    """Each process must fit in its share of a GPU."""
    if gpu is None:
        return Verdict(
            None,
            (
                "no GPU to plan for: name one of the catalogue, or measure one by `rlhf calibrate "
                "--device cuda`",
            ),
        )
    resources = spec.resources
    shares = {
        "learner": resources.learner.gpus_per_worker,
        "rollout": resources.rollout.gpus_per_actor,
        "reward": resources.reward.gpus_per_actor,
    }
    reasons = []
    for role in memory:
        if role.on != "cuda":
            continue
        share = shares.get(role.role) or 1.0
        # Torch computes on one GPU a process, however many it reserves.
        usable = USABLE * gpu.memory * min(1.0, share)
        if (role.bytes.value or 0) > usable:
            reasons.append(
                f"a {role.role} process holds {(role.bytes.value or 0) / GIB:.1f} GiB; its share of "
                f"a {gpu.name} has {usable / GIB:.1f} GiB to give"
            )
    if reasons:
        return Verdict(False, tuple(reasons))
    if any(r.on == "cuda" and (r.bytes.value is None or r.bytes.at_least) for r in memory):
        return Verdict(None, ("the memory of a role is not wholly known",))
    return Verdict(True)
