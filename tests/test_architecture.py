"""The rules of ARCHITECTURE.md that a machine can check."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("rlhf_service", "cluster", "api")


def sources():
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def test_import_contracts_hold():
    program = Path(sys.executable).parent / "lint-imports"
    checked = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("package", "file"),
    [
        ("deepspeed", "rlhf_service/learner/deepspeed.py"),
        ("vllm", "rlhf_service/rollout/vllm.py"),
    ],
)
def test_only_one_file_imports_it(package, file):
    importing = re.compile(rf"^\s*(import|from) {package}\b", re.MULTILINE)
    found = [str(p.relative_to(ROOT)) for p in sources() if importing.search(p.read_text())]
    assert found == [file]


def test_the_spec_and_the_client_are_light():
    """A user's machine needs no torch to describe, submit and watch a job."""
    code = (
        "import rlhf_service.spec, rlhf_service.client, rlhf_service.cli.app, rlhf_service.data.check, "
        "sys; print([m for m in ('torch', 'transformers', 'ray', 'fastapi') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_no_file_outgrows_its_room():
    long = {
        str(p.relative_to(ROOT)): n
        for p in sources()
        if (n := len(p.read_text().splitlines())) > 320
    }
    assert long == {}
    lengths = sorted(len(p.read_text().splitlines()) for p in sources() if p.name != "__init__.py")
    assert lengths[len(lengths) // 2] <= 120


def test_the_repository_speaks_of_itself_alone():
    machine = re.compile(r"/(?:work|root)/")
    texts = [p for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".toml", ".txt"}]
    mine = [p for p in texts if not any(part.startswith(".venv") for part in p.parts)]
    own = [p for p in mine if p != Path(__file__)]
    assert [str(p) for p in own if machine.search(p.read_text(errors="replace"))] == []
