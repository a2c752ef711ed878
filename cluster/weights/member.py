"""One process's place in a group that weights are broadcast to: the learner's rank 0 and rollout actors.

The group stands beside torch's default one, which the learners have and the actors lack, and is made
anew whenever somebody is missing. Ray's own collective library makes torch's default group.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from cluster.weights.buckets import BUCKET_BYTES
from rlhf_service.errors import WeightsUnavailable

JOIN_SECONDS = 20.0
"""For all members to meet."""
STALL_SECONDS = 20.0
"""Without a bucket, which takes seconds on a slow link: somebody is lost."""
POLL_SECONDS = 0.005
NCCL_SECONDS = 3600.0
"""Not what a broadcast may take, which is watched here."""
SENDER = 0
"""Rank of the process that publishes."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the members of a group find each other."""

    group: str
    backend: str
    address: str
    """Host of the sender's TCP store."""
    port: int
    size: int


def call_meeting(group: str, backend: str, address: str, size: int) -> tuple[Meeting, Store]:
    """By the sender, on its host's `address`; the store lives as long as it is held. Raises
    WeightsUnavailable."""
    patience = timedelta(seconds=JOIN_SECONDS)
    try:
        store = TCPStore(address, 0, is_master=True, wait_for_workers=False, timeout=patience)
    except (RuntimeError, dist.DistError) as fault:
        raise WeightsUnavailable(f"no group can meet at {address}: {fault}") from fault
    return Meeting(group, backend, address, store.port, size), store


class Member:
    """Raises WeightsUnavailable whenever the group cannot go on; it is of no use then."""

    def __init__(
        self, meeting: Meeting, rank: int, address: str, store: Store | None = None
    ) -> None:
        """Waits for the others. `address`: this host's; `store`: the sender's own."""
        self.meeting = meeting
        try:
            if store is None:
                patience = timedelta(seconds=JOIN_SECONDS)
                store = TCPStore(meeting.address, meeting.port, timeout=patience)
            self._group: Any = _group(PrefixStore(meeting.group, store), meeting, rank, address)
        except (RuntimeError, dist.DistError) as fault:
            raise WeightsUnavailable(
                f"the group of {meeting.size} did not meet: {fault}"
            ) from fault

    def broadcast(
        self, buckets: Sequence[torch.Tensor], beat: Callable[[], None] = lambda: None
    ) -> None:
        """Fill `buckets` with the sender's on every member. `beat` is called while it goes on."""
        group = self._group
        if group is None:
            raise WeightsUnavailable("this process has left the group")
        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor = SENDER, 0
        try:
            # A tensor larger than a bucket must not look like a link that stands still.
            pieces = [piece for bucket in buckets for piece in bucket.split(BUCKET_BYTES)]
            works = [group.broadcast([piece], options) for piece in pieces]
            for work in works:
                deadline = time.monotonic() + STALL_SECONDS
                while not work.is_completed():
                    beat()
                    # Aborted collectives may look complete.
                    if self._group is not group:
                        raise WeightsUnavailable("this process has left the group")
                    if time.monotonic() > deadline:
                        raise WeightsUnavailable(f"no bucket within {STALL_SECONDS:g} s")
                    time.sleep(POLL_SECONDS)
                work.wait()
        except (RuntimeError, dist.DistError) as fault:
            raise WeightsUnavailable(f"the broadcast broke off: {fault}") from fault
        if self._group is not group:
            raise WeightsUnavailable("this process has left the group")

    def leave(self) -> None:
        """End what is under way, here and, as connections close, with the others. Never waits: gloo
        lets go of a broadcast that is stuck only when its time is up.
        """
        gone, self._group = self._group, None
        if gone is not None:
            threading.Thread(target=_let_go, args=([gone],), name="let go", daemon=True).start()


def _let_go(held: list[Any]) -> None:
    """End a group and drop what should be the last reference to it."""
    held.pop().abort()


def _group(store: Store, meeting: Meeting, rank: int, address: str) -> Any:
    """A backend's process group, which torch types without most of what it has."""
    if meeting.backend == "nccl":
        kind: Any = dist.ProcessGroupNCCL
        options = kind.Options()
        options._timeout = timedelta(seconds=NCCL_SECONDS)
        with _variable("TORCH_NCCL_BLOCKING_WAIT", "1"):
            return kind(store, rank, meeting.size, options)
    kind = dist.ProcessGroupGloo
    options = kind._Options()
    options._devices = [kind.create_device(hostname=address)]
    options._timeout = timedelta(seconds=JOIN_SECONDS + STALL_SECONDS)
    return kind(store, rank, meeting.size, options)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """An environment variable that is read while a group is made. NCCL's otherwise starts a watchdog,
    which ends the process, the learner's too, when a member is lost.
    """
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
