"""The environment in which vLLM draws responses."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata

from rlhf_service.cli.doctor.finding import Finding, fail, ok
from rlhf_service.cli.doctor.software import run
from rlhf_service.spec.rollout import VLLM_PYTHON

NAME = "vLLM"
PROBE = """
import json, sys, cluster.actors, ray, vllm
print(json.dumps([list(sys.version_info[:2]), ray.__version__, vllm.__version__]))
"""
"""What a rollout actor needs of its environment."""

SECONDS = 120.0
"""For its imports, which take half a minute on a busy machine."""


def vllm(environment: Mapping[str, str] = os.environ) -> Finding:
    """Whether rollout actors could run there."""
    python = environment.get(VLLM_PYTHON)
    if not python:
        return in_this_environment()
    found = shutil.which(python)
    if found is None:
        remedy = f"have {VLLM_PYTHON} name the python of an environment; make vllm builds one"
        return fail(NAME, f"{python} is no program", remedy)
    said, code = run([found, "-c", PROBE], seconds=SECONDS)
    if code:
        why = (said.strip().splitlines() or [f"exit code {code}"])[-1][:160]
        return fail(NAME, f"{python} cannot run rollout actors: {why}", "make vllm builds one anew")
    version, ray, vllm_ = json.loads(said.strip().splitlines()[-1])
    own = [list(sys.version_info[:2]), metadata.version("ray")]
    if [version, ray] != own:
        numbers = ".".join(map(str, version))
        return fail(
            NAME,
            f"{python} has Python {numbers} and Ray {ray}, which cannot talk to Ray {own[1]} here",
            "install the same version of both there; make vllm builds one",
        )
    return ok(NAME, f"{vllm_} in {python}")


def in_this_environment() -> Finding:
    """Where nobody named another."""
    try:
        return ok(NAME, f"{metadata.version('vllm')} in this environment")
    except metadata.PackageNotFoundError:
        return ok(NAME, "none; jobs draw responses with the project's own engine")
