"""Python, packages, and the programs that are called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib import metadata

from rlhf_service.cli.doctor.finding import Finding, fail, ok, warn

OLDEST, TRIED = (3, 11), (3, 11)
PROJECT = "rlhf-service"
SECONDS = 30.0
PROBE = "#include <Python.h>\n#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n"


def python(version: tuple[int, int, int] = sys.version_info[:3]) -> Finding:
    said = ".".join(map(str, version))
    if version[:2] < OLDEST:
        remedy = "install Python 3.11 and make the environment anew: make setup PYTHON=python3.11"
        return fail("Python", said, remedy)
    if version[:2] > TRIED:
        return warn("Python", said, "tested with 3.11; go back to it if a package misbehaves")
    return ok("Python", said)


def compiler(environment: Mapping[str, str] = os.environ) -> Finding:
    """DeepSpeed builds its optimiser on first use; a program like it is compiled here."""
    name = "C++ compiler"
    found = shutil.which(environment.get("CXX") or "c++") or shutil.which("g++")
    if found is None:
        return fail(name, "there is none", "install one: apt-get install g++")
    include = sysconfig.get_paths()["include"]
    command = [found, "-std=c++17", "-fopenmp", "-fsyntax-only", f"-I{include}", "-x", "c++", "-"]
    text, code = run(command, PROBE)
    if code == 0:
        return ok(name, found)
    if "Python.h" in text:
        return fail(
            name, "Python's headers are missing", "install them: apt-get install python3-dev"
        )
    if "openmp" in text or "omp.h" in text:
        return fail(name, f"{found} has no OpenMP", "install GCC: apt-get install g++")
    return fail(
        name, f"{found} does not compile", "run it by hand; install g++ anew if it is broken"
    )


def packages() -> list[Finding]:
    """Whether what the project requires is there, in versions that it can use."""
    name = "Packages"
    try:
        required = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        return [warn(name, f"{PROJECT} is not installed", "make setup, or pip install -e .")]
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return [fail(name, "packaging is missing", "make setup")]
    wrong, count = [], 0
    for text in required:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(fail(wanted.name, "is not installed", install(wanted.name)))
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            said = f"{version}, but {wanted.specifier} is needed"
            wrong.append(fail(wanted.name, said, install(wanted.name)))
    return wrong or [ok(name, f"all {count} in fitting versions{versions()}")]


def versions(shown: Sequence[str] = ("torch", "deepspeed", "ray")) -> str:
    """The heaviest ones' versions."""
    found = []
    for name in shown:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return f": {', '.join(found)}" if found else ""


def install(name: str) -> str:
    return f"make setup, or pip install -c constraints.txt {name}"


def sandbox() -> Finding:
    """bubblewrap isolates python graders."""
    name = "Sandbox (bwrap)"
    found = shutil.which("bwrap")
    if found is None:
        remedy = "only python graders need it: apt-get install bubblewrap"
        return warn(name, "not installed; python graders are refused", remedy)
    text, code = run([found, "--ro-bind", "/", "/", "--unshare-all", "true"])
    if code:
        remedy = "only python graders need it: allow user namespaces, or run outside this container"
        return warn(name, f"does not start: {first_line(text)}", remedy)
    return ok(name, found)


def gpu() -> Finding:
    """Whether there are GPUs, and whether PyTorch can use them."""
    found = shutil.which("nvidia-smi")
    text, code = run([found, "--query-gpu=name", "--format=csv,noheader"]) if found else ("", 1)
    cards = [line for line in text.splitlines() if line.strip()] if code == 0 else []
    if not cards:
        return ok("GPU", "none; jobs train on the CPU")
    said = f"{len(cards)} x {cards[0].strip()}"
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        version = ""
    if "+cpu" in version:
        remedy = "install a CUDA build of PyTorch; see docs/deploy/machine.md"
        return warn("GPU", f"{said}, but PyTorch {version} cannot use it", remedy)
    return ok("GPU", said)


def run(command: Sequence[str], given: str = "", seconds: float = SECONDS) -> tuple[str, int]:
    """What a program says, and its exit code; -1 when it does not come to an end."""
    try:
        ran = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds:g} s", -1
    except OSError as fault:
        return str(fault), -1
    return ran.stdout + ran.stderr, ran.returncode


def first_line(text: str) -> str:
    return re.split(r"[\r\n]", text.strip(), maxsplit=1)[0][:120]
