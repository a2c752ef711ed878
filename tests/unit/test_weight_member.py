"""A group for weights beside torch's own: what is sent arrives, and who is lost breaks it off."""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import Connection

import pytest
import torch

from cluster.weights.member import SENDER, Member, call_meeting
from rlhf_service.errors import WeightsUnavailable

SECONDS = 60
LOOPBACK = "127.0.0.1"
MEBIBYTES = 64
"""More than what sockets take without a reader."""


def receive(meeting, rank: int, ends: bool, told: Connection) -> None:
    member = Member(meeting, rank, LOOPBACK)
    if ends:
        os._exit(1)
    buckets = [torch.zeros(MEBIBYTES << 20, dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8)]
    member.broadcast(buckets)
    told.send([int(bucket.sum()) for bucket in buckets])


def start(meeting, rank: int, ends: bool = False):
    spawned = multiprocessing.get_context("spawn")
    ours, theirs = spawned.Pipe()
    process = spawned.Process(target=receive, args=(meeting, rank, ends, theirs), daemon=True)
    process.start()
    return process, ours


@pytest.fixture
def two_receivers(request):
    meeting, store = call_meeting("of-a-test", "gloo", LOOPBACK, 3)
    started = [start(meeting, 1), start(meeting, 2, ends=request.param)]
    yield Member(meeting, SENDER, LOOPBACK, store), [pipe for _, pipe in started]
    for process, _ in started:
        process.kill()
        process.join(SECONDS)


def sent() -> list[torch.Tensor]:
    return [
        torch.ones(MEBIBYTES << 20, dtype=torch.uint8),
        torch.tensor([1, 2, 3], dtype=torch.uint8),
    ]


@pytest.mark.parametrize("two_receivers", [False], indirect=True)
def test_every_member_gets_every_bucket(two_receivers):
    sender, pipes = two_receivers
    sender.broadcast(sent())
    for pipe in pipes:
        assert pipe.poll(SECONDS) and pipe.recv() == [MEBIBYTES << 20, 6]


@pytest.mark.parametrize("two_receivers", [True], indirect=True)
def test_a_member_that_dies_ends_the_broadcast(two_receivers):
    sender, _ = two_receivers
    with pytest.raises(WeightsUnavailable, match=r"broke off|no bucket"):
        sender.broadcast(sent())


@pytest.mark.parametrize("two_receivers", [False], indirect=True)
def test_who_leaves_ends_what_is_under_way_at_once(two_receivers):
    sender, _ = two_receivers

    def leave() -> None:
        sender.leave()

    begun = time.monotonic()
    with pytest.raises(WeightsUnavailable, match="has left"):
        sender.broadcast(sent(), leave)
    assert time.monotonic() - begun < 5
    with pytest.raises(WeightsUnavailable, match="has left"):
        sender.broadcast(sent())


def test_who_finds_nobody_says_so(monkeypatch):
    monkeypatch.setattr("cluster.weights.member.JOIN_SECONDS", 0.5)
    monkeypatch.setattr("cluster.weights.member.STALL_SECONDS", 0.5)
    meeting, store = call_meeting("lonely", "gloo", LOOPBACK, 2)
    with pytest.raises(WeightsUnavailable, match="did not meet"):
        Member(meeting, SENDER, LOOPBACK, store)
