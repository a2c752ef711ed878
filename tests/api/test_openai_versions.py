"""The same flow through several versions of the openai package, each alone with its requirements.

Installs packages, so it runs only when told which: RLHF_OPENAI_VERSIONS="1.109.1 2.54.0 3.57.0".
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf_service.events import CheckpointSaved
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.served import served
from tests.api.test_openai_jobs import model_folder
from tests.api.world import step

VERSIONS = os.environ.get("RLHF_OPENAI_VERSIONS", "").split()
FLOW = Path(__file__).with_name("openai_flow.py")


@pytest.mark.openai_versions
@pytest.mark.timeout(600)
@pytest.mark.skipif(not VERSIONS, reason="RLHF_OPENAI_VERSIONS names no versions")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_flow(tmp_path: Path, version: str) -> None:
    target = tmp_path / "package"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(target)]
    subprocess.run([*pip, f"openai=={version}"], check=True, timeout=400)
    settings = make_settings(tmp_path, "", reconcile=True, reconcile_interval=0.05)
    with served(settings, FakeLauncher()) as here:
        command = [sys.executable, "-I", "-S", str(FLOW), str(target), here.base_url, here.key]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flow:
            try:
                assert flow.stdout is not None
                job_id = flow.stdout.readline().strip()
                assert job_id, "the flow ended before it made a job"
                here.begin(job_id)
                here.say(
                    job_id, step(1), CheckpointSaved(stage="sft", step=1, path="/x", seconds=1)
                )
                model_folder(settings.folder(job_id).model)
                here.launcher.succeed(here.submitted(job_id))
                rest, _ = flow.communicate(timeout=120)
            finally:
                flow.kill()
        assert flow.returncode == 0
        assert rest.split()[:2] == ["ok", version]
