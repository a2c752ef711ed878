"""What a job's folder has lost is had from the copies."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from rlhf_service.artefacts.build import job_uri, store_at
from rlhf_service.artefacts.mirror import Mirror
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.world import World, running

pytestmark = pytest.mark.asyncio


def copied(world: World, job_id: str) -> None:
    """The job's folder is copied, then lost."""
    folder = world.settings.folder(job_id)
    store = store_at(job_uri(world.settings.artefacts, job_id))
    assert store is not None
    Mirror(folder, store, print).copy()
    shutil.rmtree(folder.root)


async def test_the_completion_record_counts_from_the_copies(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "", artefacts=str(tmp_path / "copies"))
    launcher = FakeLauncher()
    async with running(settings, launcher) as world:
        job_id, driver = await world.started()
        environment = driver.request.environment
        assert environment["RLHF_JOB_ARTEFACTS"] == f"{tmp_path}/copies/jobs/{job_id}"
        assert environment["RLHF_JOB_ARTEFACTS_SECONDS"] == "600"
        launcher.succeed(driver.submission_id)
        folder = settings.folder(job_id)
        folder.model.mkdir(exist_ok=True)
        (folder.model / "config.json").write_text('{"a": 1}')
        copied(world, job_id)
        await world.turn(2)
        assert (await world.job(job_id))["status"] == "succeeded"


async def test_downloads_fall_back_to_the_copies(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "", artefacts=str(tmp_path / "copies"))
    async with running(settings, FakeLauncher()) as world:
        job_id, _ = await world.started()
        folder = settings.folder(job_id)
        (folder.stage_model("sft")).mkdir(parents=True)
        (folder.stage_model("sft") / "config.json").write_text('{"a": 1}')
        (folder.stage("sft") / "done.json").write_text("{}")
        (folder.root / "attempt-1.token").write_text("secret")
        copied(world, job_id)
        base = f"/v1/jobs/{job_id}"
        paths = [file["path"] for file in (await world.get(f"{base}/artefacts"))["data"]]
        assert "stages/sft/model/config.json" in paths
        answer = await world.client.get(f"{base}/artefacts/stages/sft/model/config.json")
        assert (answer.status_code, answer.text) == (200, '{"a": 1}')
        archive = await world.client.get(f"{base}/archive?path=stages")
        names = tarfile.open(fileobj=io.BytesIO(archive.content)).getnames()
        assert sorted(names) == [
            f"{job_id}/stages/sft/{n}" for n in ("done.json", "model/config.json")
        ]
        for path in ("attempt-1.token", "stages/sft/none", "../secret"):
            assert (await world.client.get(f"{base}/artefacts/{path}")).status_code in (400, 404)
        shutil.rmtree(tmp_path / "copies")
        shutil.rmtree(folder.root)
        gone = await world.client.get(f"{base}/artefacts/stages/sft/done.json")
        assert gone.status_code == 404
