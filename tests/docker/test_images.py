"""Dockerfiles and the compose file: linted, and held to what the code needs. Nothing is built here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from api.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_hadolint_has_nothing_to_say(path):
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or "hadolint"
    done = subprocess.run([hadolint, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_images_have_stages_a_plain_user_and_a_health_check(path):
    text = path.read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(bases) == 2 and all(":" in base and "latest" not in base for base in bases)
    final = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*$", final, re.MULTILINE)
    assert "HEALTHCHECK" in final and "COPY --from=build" in final
    installs = re.findall(r"pip install (.*)", text)
    assert all("-c constraints.txt" in found or "--no-deps" in found for found in installs)


def test_the_control_plane_has_what_it_imports_and_no_network_libraries_of_the_workers():
    listed = (ROOT / "docker" / "control-plane.txt").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[\[#]", line)[0].strip() for line in listed} - {""}
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    assert names <= pinned
    assert not names & {"torch", "transformers", "deepspeed", "peft", "accelerate"}


def test_compose_starts_what_the_chart_does():
    services = COMPOSE["services"]
    assert services.keys() == {"database", "control-plane", "ray-head", "ray-worker"}
    known = {f"RLHF_{name.upper()}" for name in Settings.model_fields}
    given = services["control-plane"]["environment"]
    assert {name for name in given if name.startswith("RLHF_")} <= known
    for service in services.values():
        assert not service["image"].endswith(":latest") and ":" in service["image"]
        for published in service.get("ports", []):
            assert published.startswith("127.0.0.1:")
    for name in ("RAY_AUTH_TOKEN", "POSTGRES_PASSWORD", "RLHF_API_KEY"):
        assert not re.search(rf"{name}[:=] *[A-Za-z0-9]", yaml.safe_dump(COMPOSE))
