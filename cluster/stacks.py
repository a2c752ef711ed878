"""Python stacks of a process that hangs, so that its log says where."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from cluster.machines import OutOfReach, on_its_machine
from rlhf_service.vitals import STACKS_SIGNAL, Sign, hindmost

SECONDS = 10.0
"""What looking may take."""
CHARACTERS = 20_000


def stacks(sign: Sign) -> str:
    """In words and lines; says why when there are none to be had."""
    try:
        return on_its_machine(sign, stacks_here)
    except OutOfReach as fault:
        return f"{sign.role} runs on {sign.host}: its stacks are not read from here: {fault}"


def stacks_here(sign: Sign) -> str:
    """Of a process of this machine."""
    try:
        process = psutil.Process(sign.pid)
        state = process.status()
    except psutil.NoSuchProcess:
        return f"{sign.role} (process {sign.pid}) is gone"
    found, why = by_py_spy(sign.pid)
    if not found:
        found = by_signal(sign, stopped=state == psutil.STATUS_STOPPED)
    if not found:
        return f"{sign.role} (process {sign.pid}, {state}): no stacks: {why}"
    return f"{sign.role} (process {sign.pid}, {state}):\n{found[:CHARACTERS].rstrip()}"


def culprits(signs: Sequence[Sign]) -> list[Sign]:
    """Who came least far; of those, the ones that were stopped, when any were: others wait."""
    found = hindmost(signs)
    return [sign for sign in found if is_stopped(sign)] or found


def is_stopped(sign: Sign) -> bool:
    if sign.host != socket.gethostname():
        return False
    try:
        return bool(psutil.Process(sign.pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def by_py_spy(pid: int) -> tuple[str, str]:
    """From outside, which works for a stopped process too; where that is allowed. (stacks, why not)"""
    program = shutil.which("py-spy") or str(Path(sys.executable).with_name("py-spy"))
    command = [program, "dump", "--nonblocking", "--pid", str(pid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        return "", "py-spy is not installed"
    except subprocess.TimeoutExpired:
        return "", f"py-spy did not answer within {SECONDS:g} s"
    lines = (done.stderr or done.stdout).strip().splitlines() or [f"py-spy ended {done.returncode}"]
    return (done.stdout, "") if done.returncode == 0 else ("", lines[0])


def by_signal(sign: Sign, *, stopped: bool) -> str:
    """From inside, by its own handler. One that is stopped is let run for as long as that takes:
    a waiting signal is handled before anything else.
    """
    before = size(sign.stacks)
    with suppress(ProcessLookupError, PermissionError):
        os.kill(sign.pid, STACKS_SIGNAL)
        if stopped:
            os.kill(sign.pid, signal.SIGCONT)
        deadline = time.monotonic() + SECONDS
        grown = before
        while time.monotonic() < deadline:
            time.sleep(0.1)
            last, grown = grown, size(sign.stacks)
            if grown > before and grown == last:
                break
        if stopped:
            os.kill(sign.pid, signal.SIGSTOP)
    with suppress(OSError):
        return sign.stacks.read_bytes()[before:].decode("utf-8", errors="replace")
    return ""


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
