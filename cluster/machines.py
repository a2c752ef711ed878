"""Work on the machine of a process that left a sign: here, or by a task on its node."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import TypeVar

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rlhf_service.errors import RlhfError
from rlhf_service.vitals import Sign

NODE_SECONDS = 60.0
"""What a task on another node may take, its start included."""

Answer = TypeVar("Answer")


class OutOfReach(RlhfError):
    """The process's machine cannot be asked."""


def on_its_machine(sign: Sign, work: Callable[[Sign], Answer]) -> Answer:
    """What `work` returns there. Raises OutOfReach."""
    if sign.host == socket.gethostname():
        return work(sign)
    if not sign.node or not ray.is_initialized():
        raise OutOfReach("no Ray node is known for it")
    there = NodeAffinitySchedulingStrategy(sign.node, soft=False)
    task = ray.remote(work).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    try:
        answer: Answer = ray.get(task.remote(sign), timeout=NODE_SECONDS)
    except ray.exceptions.RayError as fault:
        raise OutOfReach(str(fault).strip().splitlines()[0]) from fault
    return answer


def kill_here(sign: Sign) -> bool:
    """End the process, stopped or not. False when it is gone, or its number is another's by now."""
    try:
        if psutil.Process(sign.pid).create_time() > sign.at + 1:
            return False
        os.kill(sign.pid, signal.SIGKILL)
    except (psutil.Error, ProcessLookupError):
        return False
    return True
