"""The rollout actors' end of the collective channel.

Consumes: deliveries of the learner's courier, on a thread of their own. Waits for: the other members of
the group. Unblocked by: the whole version, a member that is lost, or the courier's word to leave.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import ray
import torch

from cluster.weights.buckets import Layout, empty_buckets, tensors_in
from cluster.weights.member import Meeting, Member
from cluster.weights.object_store import FETCH_SECONDS, ObjectStoreChannel
from cluster.weights.store import Published
from rlhf_service.errors import WeightsUnavailable
from rlhf_service.newest import Newest
from rlhf_service.ports import WeightSnapshot

LOOK_SECONDS = 0.2
"""Between two questions to the store about a version that is on its way."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A version that is about to be broadcast to an actor."""

    meeting: Meeting
    rank: int
    new: bool
    """Whether the group begins with this delivery; otherwise the actor is a member already."""
    version: int
    digests: dict[str, str]
    layout: Layout
    kept: int
    """Versions that may wait to be taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """A version as it was broadcast."""

    digests: Mapping[str, str]
    layout: Layout
    buckets: list[torch.Tensor]


class Receiver:
    """What has arrived at one actor."""

    def __init__(self, channel: ObjectStoreChannel, device: str) -> None:
        self._channel, self._device = channel, torch.device(device)
        self._member: Member | None = None
        self._left: set[str] = set()
        """Groups that are done with, whatever of them is still on its way here."""
        self._arrived: Newest[Arrived] = Newest()
        self._taken: Arrived | None = None
        """What the engine takes over, whose buckets then serve again."""
        self._spare: Arrived | None = None
        self._turn = threading.Lock()
        """One delivery at a time: the next comes when the one before was broken off."""
        self._changed = threading.Condition()

    def receive(self, delivery: Delivery) -> str | None:
        """Take part in a broadcast. What went wrong, if anything did: nobody may ever ask."""
        try:
            with self._turn:
                self._receive(delivery)
        except Exception as fault:  # out of memory, too: the object store has the version
            return str(fault) or type(fault).__name__
        return None

    def _receive(self, delivery: Delivery) -> None:
        buckets = self._buckets(delivery.layout)
        self._member_of(delivery).broadcast(buckets)
        with self._changed:
            arrived = Arrived(delivery.digests, delivery.layout, buckets)
            self._arrived.put(delivery.version, arrived, delivery.kept)
            self._changed.notify_all()

    def _buckets(self, layout: Layout) -> list[torch.Tensor]:
        spare, self._spare = self._spare, None
        if spare is not None and spare.layout == layout:
            return spare.buckets  # new memory takes longer to get than to fill
        return empty_buckets(layout, self._device)

    def _member_of(self, delivery: Delivery) -> Member:
        group = delivery.meeting.group
        if delivery.new and group not in self._left:
            self._end()
            address = ray.util.get_node_ip_address()
            self._member = Member(delivery.meeting, delivery.rank, address)
        if group in self._left:
            self._end()
        if self._member is None or self._member.meeting != delivery.meeting:
            raise WeightsUnavailable("this process is no member of the group")
        return self._member

    def leave(self, group: str) -> None:
        """End what is under way in that group, which is done with."""
        self._left.add(group)
        if self._member is not None and self._member.meeting.group == group:
            self._end()

    def _end(self) -> None:
        member, self._member = self._member, None
        if member is not None:
            member.leave()

    def fetch(self, version: int) -> WeightSnapshot:
        """That version, broadcast or from the object store. Raises WeightsUnavailable."""
        deadline = time.monotonic() + FETCH_SECONDS
        while True:
            found = self._channel.find(version)
            if (arrived := self._take(found)) is not None:
                self._taken = arrived
                tensors = tensors_in(arrived.layout, arrived.buckets)
                return WeightSnapshot(version, found.digests, tensors)
            if found.box:
                return self._channel.opened(found)
            if time.monotonic() > deadline:
                raise WeightsUnavailable(
                    f"version {version} did not arrive within {FETCH_SECONDS:g} s"
                )

    def taken_over(self) -> None:
        """What was fetched is not needed any more; its tensors may change from now on."""
        taken, self._taken = self._taken, None
        if taken is None:
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize()  # an engine copies on a stream of its own
        else:
            self._spare = taken  # a GPU's memory is kept by torch

    def _take(self, announced: Published) -> Arrived | None:
        """The version that was announced, waited for a little if it is on its way, and let go of here.

        A learner that went back to a checkpoint publishes other weights under the same number.
        """

        def come() -> bool:
            arrived = self._arrived.find(announced.version)
            return arrived is not None and arrived.digests == announced.digests

        with self._changed:
            if not (come() if announced.box else self._changed.wait_for(come, LOOK_SECONDS)):
                return None
            return self._arrived.take(announced.version)
