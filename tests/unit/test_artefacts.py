"""Copies of a job's files: complete, in an order that never lies, and back again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_service.artefacts.base import ArtefactStore
from rlhf_service.artefacts.build import job_uri, store_at
from rlhf_service.artefacts.mirror import Mirror
from rlhf_service.artefacts.restore import restore
from rlhf_service.errors import UserError
from rlhf_service.manifest import read_checkpoint
from rlhf_service.storage import JobFolder
from rlhf_service.testing_artefacts import FakeArtefacts
from tests.api.served import until


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket's URI, behind an S3 endpoint on loopback."""
    moto_server = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    patch = pytest.MonkeyPatch()
    server.start()
    host, port = server.get_host_and_port()
    patch.setenv("AWS_ACCESS_KEY_ID", "testing")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    boto3.client("s3").create_bucket(Bucket="artefacts")
    yield "s3://artefacts/team"
    server.stop()
    patch.undo()


@pytest.fixture(params=["folder", "s3", "fake"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtefactStore:
    if request.param == "fake":
        return FakeArtefacts()
    root = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "copies")
    made = store_at(job_uri(root, f"job-{request.node.name[:24]}"))
    assert made is not None
    return made


def job(root: Path) -> JobFolder:
    folder = JobFolder(root)
    (folder.root / "events").mkdir(parents=True)
    (folder.events / "a1-driver.jsonl").write_text('{"a": 1}\n')
    folder.spec.write_text("{}")
    (folder.root / "attempt-1.token").write_text("secret")
    return folder


def checkpoint(folder: JobFolder, stage: str, step: int, text: str = "weights") -> Path:
    path = folder.checkpoints / f"{stage}-step-{step:06d}"
    (path / "policy").mkdir(parents=True)
    (path / "policy" / "model.bin").write_text(text)
    (path / "rng-0.pt").write_text("r")
    files = {"policy/model.bin": len(text), "rng-0.pt": 1}
    manifest = {"stage": stage, "step": step, "ranks": 1, "files": files}
    (path / "MANIFEST").write_text(json.dumps(manifest))
    return path


def finished_stage(folder: JobFolder, name: str) -> None:
    (folder.stage_model(name)).mkdir(parents=True)
    (folder.stage_model(name) / "config.json").write_text("{}")
    (folder.stage(name) / "done.json").write_text("{}")


def mirror(folder: JobFolder, store: ArtefactStore, said: list[str] | None = None) -> Mirror:
    return Mirror(folder, store, (said if said is not None else []).append)


def test_a_folder_that_is_lost_comes_back_whole(store: ArtefactStore, tmp_path: Path) -> None:
    folder = job(tmp_path / "one")
    finished_stage(folder, "sft")
    checkpoint(folder, "ppo", 5)
    checkpoint(folder, "ppo", 10, "newer weights")
    (folder.checkpoints / "ppo-step-000015").mkdir()  # being written
    (folder.checkpoints / "ppo-step-000015" / "rng-0.pt").write_text("half")
    mirror(folder, store).copy()
    assert not any("token" in name or "000015" in name for name in store.sizes())

    again = JobFolder(tmp_path / "two")
    assert restore(again, store) == ["stage sft", "checkpoint ppo-step-000010"]
    found = read_checkpoint(again.checkpoints / "ppo-step-000010")
    assert (found.stage, found.step) == ("ppo", 10)
    assert (found.path / "policy" / "model.bin").read_text() == "newer weights"
    assert (again.stage_model("sft") / "config.json").exists()
    assert (again.events / "a1-driver.jsonl").read_text() == '{"a": 1}\n'
    assert restore(again, store) == []  # nothing is fetched twice


def test_marks_come_last_and_deleted_checkpoints_go(store: ArtefactStore, tmp_path: Path) -> None:
    folder = job(tmp_path / "one")
    old = checkpoint(folder, "ppo", 5)
    copies = mirror(folder, store)
    copies.copy()
    checkpoint(folder, "ppo", 10)
    (old / "MANIFEST").unlink()
    folder.model.mkdir()
    (folder.model / "model.safetensors").write_text("w" * 100)
    folder.result.write_text('{"model": "m"}')
    (folder.events / "a1-driver.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    copies.copy()
    there = store.sizes()
    assert {name.split("/")[1] for name in there if name.startswith("checkpoints/")} == {
        "ppo-step-000010"
    }
    assert there["events/a1-driver.jsonl"] == 18 and there["model/model.safetensors"] == 100
    if isinstance(store, FakeArtefacts):
        assert store.order[-1] == "result.json"
        for name in store.order:
            if name.endswith("MANIFEST"):
                beside = [n for n in store.order if n.startswith(name.removesuffix("MANIFEST"))]
                assert beside[-1] == name


def test_a_copy_that_is_not_whole_is_passed_over(tmp_path: Path) -> None:
    store = FakeArtefacts()
    folder = job(tmp_path / "one")
    checkpoint(folder, "ppo", 5)
    checkpoint(folder, "ppo", 10)
    mirror(folder, store).copy()
    store.files["checkpoints/ppo-step-000010/policy/model.bin"] = b"torn"
    assert restore(JobFolder(tmp_path / "two"), store) == ["checkpoint ppo-step-000005"]


def test_the_folders_own_newer_checkpoint_stays(tmp_path: Path) -> None:
    store, folder = FakeArtefacts(), job(tmp_path / "one")
    checkpoint(folder, "ppo", 5)
    mirror(folder, store).copy()
    checkpoint(folder, "ppo", 10)
    assert restore(folder, store) == []


def test_a_store_that_is_away_is_told_once_and_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlhf_service.artefacts.mirror.PAUSES", (0.01,))
    monkeypatch.setattr("rlhf_service.artefacts.mirror.LOOK_SECONDS", 0.01)
    store, said = FakeArtefacts(), list[str]()
    folder = job(tmp_path / "one")
    checkpoint(folder, "ppo", 5)
    store.away = True
    copies = mirror(folder, store, said)
    copies.start()
    until(lambda: said)
    store.away = False
    until(lambda: "checkpoints/ppo-step-000005/MANIFEST" in store.files)
    assert copies.close(10)
    assert said == ["artefacts are not copied for now: the fake store is away"]


def test_a_store_that_stays_away_ends_within_its_time(tmp_path: Path) -> None:
    store, said = FakeArtefacts(), list[str]()
    store.away = True
    copies = mirror(job(tmp_path / "one"), store, said)
    copies.start()
    assert not copies.close(10)
    assert len(said) == 1


def test_a_uri_that_nothing_knows_is_refused() -> None:
    with pytest.raises(UserError, match="nowhere://x"):
        store_at("nowhere://x/jobs/job-1")
    assert store_at("") is None
