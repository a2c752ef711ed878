"""The control plane starts without the machinery of training."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "deepspeed", "ray", "numpy", "datasets")


def test_the_control_plane_imports_nothing_heavy() -> None:
    code = f"import api.main, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
