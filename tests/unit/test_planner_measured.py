"""Planned memory against that of real processes on real DeepSpeed engines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rlhf_service.planning.device import write_profile
from tests.planning import machine

ROOT = Path(__file__).parents[2]


def test_planned_memory_is_what_learners_hold(tmp_path):
    """Three jobs: where passes, where parameters, and where several networks need most."""
    write_profile(machine(), tmp_path / "profile.json")
    profile = str(tmp_path / "profile.json")
    module = "tests.benchmarks.planner_error"
    ran = subprocess.run(
        [sys.executable, "-m", module, "--quick", "--profile", profile],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert len(found["errors"]) == 3, ran.stderr[-3000:]
    for name, (whole, own) in found["errors"].items():
        assert abs(whole) < 0.12, (name, whole)
        assert abs(own) < 0.25, (name, own)
