"""Carries versions to the rollout actors behind the learner's back.

Consumes: versions that rank 0 publishes. Waits for: the actors, on a thread that nobody waits for.
Unblocked by: their receipts, a death, `STALL_SECONDS`; what they miss they find in the object store.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

import ray
import torch
from torch._C._distributed_c10d import Store

from cluster.weights.attempt import Attempt
from cluster.weights.buckets import Layout
from cluster.weights.group import GROUP
from cluster.weights.member import SENDER, STALL_SECONDS, Meeting, Member, call_meeting
from cluster.weights.receiver import Delivery
from cluster.weights.roll import Roll
from rlhf_service.errors import WeightsUnavailable
from rlhf_service.ports import KEPT_VERSIONS

TRIES = 2
"""Broadcasts of one version: with the group there is, then with those that answer."""
REST_SECONDS = 60.0
"""Without broadcasts, after a group that was just made could not have one."""


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """One version, in buckets of its own."""

    version: int
    digests: dict[str, str]
    layout: Layout
    buckets: list[torch.Tensor]


@dataclass(slots=True)
class Round:
    """A group, as its sender holds it."""

    meeting: Meeting
    store: Store
    """Where its members meet; lives as long as the group."""
    actors: list[ray.actor.ActorHandle]
    """By rank, after the sender."""
    member: Member | None = None
    """None until the first delivery."""


class Courier:
    """One thread, from the first version on."""

    def __init__(
        self,
        actors: Sequence[ray.actor.ActorHandle],
        backend: str,
        kept: int,
        keep: Callable[[Parcel], None],
        tell: Callable[[Literal["info", "warning"], str], None],
    ) -> None:
        """`kept`: versions that may still be needed. `keep`: puts one where who missed it finds it."""
        self._roll, self._backend, self._kept = Roll(actors), backend, kept
        self._keep, self._tell = keep, tell
        self._round: Round | None = None
        self._waiting: deque[Parcel] = deque()
        self._done: Parcel | None = None
        """Whose buckets may be filled again."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._rests_until = 0.0

    def take(self, parcel: Parcel) -> None:
        """Carry it after those before it. Never waits; old ones that nobody needs are let go."""
        with self._changed:
            self._waiting.append(parcel)
            while len(self._waiting) > self._kept:
                self._waiting.popleft()
            if self._thread is None:
                self._thread = threading.Thread(target=self._carry, name="courier", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def spare(self, layout: Layout) -> list[torch.Tensor] | None:
        """Buckets that nobody needs any more: new memory takes longer to get than to fill."""
        with self._changed:
            done, self._done = self._done, None
        return done.buckets if done is not None and done.layout == layout else None

    def find(self, version: int) -> Parcel | None:
        """The newest of that number that is on its way."""
        with self._changed:
            return next((p for p in reversed(self._waiting) if p.version == version), None)

    def end(self) -> None:
        """Nobody needs what is on its way."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()

    def _carry(self) -> None:
        while (parcel := self._next()) is not None:
            whole = self._delivered(parcel)
            try:
                if not self._ended:
                    self._keep(parcel)
            except Exception as fault:  # later versions must still be carried
                self._say("warning", f"version {parcel.version} of the weights was lost: {fault}")
            with self._changed:
                if parcel in self._waiting:
                    self._waiting.remove(parcel)
                # A broadcast that broke off may still read from its buckets.
                self._done = parcel if whole else None
        self._disband()

    def _next(self) -> Parcel | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            return self._waiting[0] if self._waiting else None

    def _delivered(self, parcel: Parcel) -> bool:
        """Whether every member of the group has it, at the first try. What goes wrong is told."""
        if time.monotonic() < self._rests_until:
            return False
        for number in range(TRIES):
            new = True
            try:
                to = self._gathered()
                new = to.member is None
                self._broadcast(parcel, to)
                return number == 0
            except Exception as fault:
                said = (str(fault).strip().splitlines() or [type(fault).__name__])[-1]
            # With the exception gone, no frame holds on to the group.
            message = f"version {parcel.version} of the weights was not broadcast: {said}"
            self._say("warning", message)
            self._disband()
            if new:  # who answered a moment ago cannot be reached
                self._rests_until = time.monotonic() + REST_SECONDS
                break
        return False

    def _gathered(self) -> Round:
        """The group, made anew if there is none, or one more could be in it."""
        if self._round is None or self._roll.grown():
            self._disband()
            actors = self._roll.present()
            name, address = uuid.uuid4().hex, ray.util.get_node_ip_address()
            meeting, store = call_meeting(name, self._backend, address, SENDER + 1 + len(actors))
            self._round = Round(meeting, store, actors)
        return self._round

    def _broadcast(self, parcel: Parcel, to: Round) -> None:
        """Raises WeightsUnavailable, RayError."""
        if not to.actors:
            return
        new = to.member is None
        receipts = [
            actor.receive.options(concurrency_group=GROUP).remote(
                Delivery(
                    meeting=to.meeting,
                    rank=rank,
                    new=new,
                    version=parcel.version,
                    digests=parcel.digests,
                    layout=parcel.layout,
                    kept=self._kept - KEPT_VERSIONS + 1,
                )
            )
            for rank, actor in enumerate(to.actors, SENDER + 1)
        ]

        def carry(beat: Callable[[], None]) -> None:
            if to.member is None:
                to.member = Member(to.meeting, SENDER, to.meeting.address, to.store)
            to.member.broadcast(parcel.buckets, beat)

        Attempt(carry).wait(partial(_check, receipts))
        if new:
            count = f"{len(to.actors)} of {self._roll.size} rollout actors"
            self._say("info", f"weights are broadcast to {count} from version {parcel.version} on")
        if silent := len(to.actors) - _check(receipts, STALL_SECONDS):
            raise WeightsUnavailable(f"{silent} actors did not confirm it")

    def _disband(self) -> None:
        gone, self._round = self._round, None
        if gone is None:
            return
        if ray.is_initialized():  # otherwise a call would start a cluster
            with suppress(Exception):
                for actor in gone.actors:
                    actor.leave.options(concurrency_group=GROUP).remote(gone.meeting.group)
        if gone.member is not None:
            gone.member.leave()

    def _say(self, level: Literal["info", "warning"], message: str) -> None:
        with suppress(Exception):  # a full disk is told by whoever cannot go on without it
            self._tell(level, message)


def _check(receipts: Sequence[ray.ObjectRef], seconds: float = 0) -> int:
    """How many have confirmed within so long. Raises WeightsUnavailable, RayError if one refused or
    died."""
    done, _ = ray.wait(list(receipts), num_returns=len(receipts), timeout=seconds)
    for refusal in ray.get(done):
        if refusal is not None:
            raise WeightsUnavailable(refusal)
    return len(done)
