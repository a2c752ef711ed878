"""The command line that starts a grader's process, isolated by bubblewrap or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from rlhf_service.errors import SpecError
from rlhf_service.reward.operator import PythonMode

NOBODY = 65534
PYTHON = "/python"
"""Where the interpreter stands inside: its place outside tells nothing there."""

SYSTEM = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
FLAGS = ("-I", "-S", "-B", "-X", "utf8")


def drop_to() -> int | None:
    """The user that the grader becomes, where this process may choose."""
    return NOBODY if os.geteuid() == 0 else None


def grader_command(mode: PythonMode) -> list[str]:
    """The whole command. Raises SpecError when the isolation asked for cannot be had."""
    code = Path(__file__).with_name("runner.py").read_text(encoding="utf-8")
    if mode is PythonMode.WEAK:
        return [str(interpreter()), *FLAGS, "-c", code]
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise SpecError(
            "python graders need bubblewrap where rewards run, and `bwrap` is not on the path: "
            "install it, or have RLHF_ALLOW_PYTHON_GRADERS=weak set for graders you trust"
        )
    inside = f"{PYTHON}/bin/{interpreter().name}"
    return [bubblewrap, *isolation(), "--", inside, *FLAGS, "-c", code]


def interpreter() -> Path:
    """The real program behind this environment's python."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable))


def isolation() -> Iterator[str]:
    """bubblewrap's arguments: no network, no processes but its own, and of the files only the C
    library, the interpreter and the standard library, all read-only."""
    yield from ("--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts")
    yield from ("--unshare-cgroup-try", "--die-with-parent")
    if drop_to() is None:
        yield from ("--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY))
    else:
        # Without a user namespace, so that the runner can become another user to the kernel too:
        # a process of root's is not held to the limit on processes.
        yield from ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = f"{PYTHON}/lib/{name}"
    for folder in ("/usr", PYTHON, f"{PYTHON}/bin", f"{PYTHON}/lib"):
        yield from ("--perms", "0755", "--dir", folder)
    for folder in SYSTEM:
        yield from ("--ro-bind-try", folder, folder)
    program = interpreter()
    yield from ("--ro-bind", str(program), f"{PYTHON}/bin/{program.name}")
    yield from ("--ro-bind", sysconfig.get_path("stdlib"), library)
    for packages in ("site-packages", "dist-packages"):
        if Path(sysconfig.get_path("stdlib"), packages).is_dir():
            yield from ("--tmpfs", f"{library}/{packages}")
            yield from ("--remount-ro", f"{library}/{packages}")
    shared = sysconfig.get_config_var("INSTSONAME")
    beside = Path(str(sysconfig.get_config_var("LIBDIR")), str(shared))
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and beside.is_file():
        yield from ("--ro-bind", str(beside), f"{PYTHON}/lib/{shared}")
        yield from ("--setenv", "LD_LIBRARY_PATH", f"{PYTHON}/lib")
    yield from ("--remount-ro", "/", "--chdir", "/")
