"""Which rollout actors answer, and which of those that did not do so again."""

from __future__ import annotations

from collections.abc import Sequence

import ray

from cluster.weights.group import GROUP

READY_SECONDS = 2.0
"""For an actor to answer; who needs longer finds the version in the object store."""


class Roll:
    """Raises nothing: an actor that is dead is one that does not answer."""

    def __init__(self, actors: Sequence[ray.actor.ActorHandle]) -> None:
        self._actors = list(actors)
        self._missing: dict[int, ray.ObjectRef] = {}
        """Question to each actor that did not answer, by its number."""

    @property
    def size(self) -> int:
        return len(self._actors)

    def present(self) -> list[ray.actor.ActorHandle]:
        """Those that answer now, in order."""
        asked = {number: _ask(actor) for number, actor in enumerate(self._actors)}
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=READY_SECONDS)
        self._missing = {n: ref for n, ref in asked.items() if not _answered(ref)}
        return [actor for n, actor in enumerate(self._actors) if n not in self._missing]

    def grown(self) -> bool:
        """Whether one that was missing answers. Takes no time."""
        for number, ref in self._missing.items():
            if _answered(ref):
                return True
            if _over(ref):  # it died over the question
                self._missing[number] = _ask(self._actors[number])
        return False


def _ask(actor: ray.actor.ActorHandle) -> ray.ObjectRef:
    return actor.stand_by.options(concurrency_group=GROUP).remote()


def _over(ref: ray.ObjectRef) -> bool:
    return bool(ray.wait([ref], timeout=0)[0])


def _answered(ref: ray.ObjectRef) -> bool:
    if not _over(ref):
        return False
    try:
        ray.get(ref)
    except ray.exceptions.RayError:
        return False
    return True
