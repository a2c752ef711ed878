"""A job's checkpoints and files over REST."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from rlhf_service.events import CheckpointSaved
from rlhf_service.manifest import MANIFEST, checkpoint_name
from tests.api.world import World, step

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]


def save_checkpoint(root: Path, stage: str, number: int, manifest: bool = True) -> Path:
    """A folder as the learner leaves it."""
    folder = root / checkpoint_name(stage, number)
    (folder / "policy").mkdir(parents=True)
    (folder / "policy" / "state.pt").write_bytes(b"w" * 100)
    if manifest:
        files = {"policy/state.pt": 100}
        text = json.dumps({"stage": stage, "step": number, "ranks": 1, "files": files})
        (folder / MANIFEST).write_text(text)
    return folder


async def test_checkpoints_are_valid_by_their_manifest(world: World) -> None:
    job_id, driver = await world.started()
    await driver.say(step(2, loss=1.5), CheckpointSaved(stage="sft", step=2, path="/x", seconds=1))
    root = world.settings.folder(job_id).checkpoints
    assert (await world.get(f"/v1/jobs/{job_id}/checkpoints"))["data"] == []
    save_checkpoint(root, "sft", 2)
    save_checkpoint(root, "sft", 4, manifest=False)
    torn = save_checkpoint(root, "a-step-b", 6)
    (torn / "policy" / "state.pt").write_bytes(b"w" * 99)
    found = (await world.get(f"/v1/jobs/{job_id}/checkpoints"))["data"]
    by_id = {item["id"]: item for item in found}
    whole = by_id["sft-step-000002"]
    assert (whole["valid"], whole["fault"], whole["step"]) == (True, None, 2)
    assert whole["files"] == 2 and whole["bytes"] > 100
    assert whole["metrics"] == {"train_loss": 1.5}
    assert not by_id["sft-step-000004"]["valid"]
    assert "no MANIFEST" in by_id["sft-step-000004"]["fault"]
    assert by_id["sft-step-000004"]["metrics"] == {}
    assert by_id["a-step-b-step-000006"]["fault"] == "policy/state.pt has 99 bytes, not 100"
    assert by_id["a-step-b-step-000006"]["stage"] == "a-step-b"
    first = await world.get(f"/v1/jobs/{job_id}/checkpoints", limit=1)
    rest = await world.get(f"/v1/jobs/{job_id}/checkpoints", after=first["last_id"])
    assert first["has_more"] and len(rest["data"]) == 2
    answer = await world.client.get(f"/v1/jobs/{job_id}/checkpoints?after=x")
    assert (answer.status_code, answer.json()["param"]) == (400, "after")


async def left_files(world: World) -> tuple[str, Path]:
    job_id = (await world.submit())["id"]
    root = world.settings.folder(job_id).root
    (root / "model" / "sub dir").mkdir(parents=True)
    (root / "model" / "weights.bin").write_bytes(bytes(range(256)) * 8)
    (root / "model" / "sub dir" / "é.txt").write_text("é")
    (root / "model" / ".partial").write_text("unfinished")
    (root / "attempt-1.token").write_text("secret")
    (root / "result.json").write_text("{}")
    (root / "model" / "out").symlink_to(world.settings.control)
    (root / "model" / "key").symlink_to(world.settings.control / "secret")
    return job_id, root


async def test_files_are_listed_by_path_and_no_secrets(world: World) -> None:
    job_id, _ = await left_files(world)
    base = f"/v1/jobs/{job_id}/artefacts"
    found = await world.get(base)
    paths = [item["path"] for item in found["data"]]
    assert paths == ["model/sub dir/é.txt", "model/weights.bin", "result.json"]
    first = await world.get(f"{base}?path=model&limit=1")
    assert first["has_more"] and first["last_id"] == paths[0]
    rest = await world.get(f"{base}?path=model&after={first['last_id']}")
    assert [item["path"] for item in rest["data"]] == paths[1:2]
    for item in found["data"]:
        answer = await world.client.get(item["url"])
        assert answer.status_code == 200 and len(answer.content) == item["bytes"]


@pytest.mark.parametrize(
    "path",
    [
        "attempt-1.token",
        "model/.partial",
        "model/key",
        "model/out/secret",
        "model",
        "none.json",
        "model/" + "x" * 400,
        "..%2f..%2fcontrol%2fsecret",
        "model/%2e%2e/%2e%2e/%2e%2e/control/secret",
        "%2fetc%2fpasswd",
        "model%00",
        "model%5c..%5c..",
    ],
)
async def test_nothing_outside_is_told(world: World, path: str) -> None:
    job_id, _ = await left_files(world)
    answer = await world.client.get(f"/v1/jobs/{job_id}/artefacts/{path}")
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["param"] == "path"
    answer = await world.client.get(f"/v1/jobs/{job_id}/archive?path={path}")
    if path != "model":
        assert answer.status_code in (400, 404), answer.text


async def test_ranges_and_etags(world: World) -> None:
    job_id, root = await left_files(world)
    path, whole = f"/v1/jobs/{job_id}/artefacts/model/weights.bin", bytes(range(256)) * 8

    async def get(**headers: str):  # type: ignore[no-untyped-def]
        return await world.client.get(
            path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    answer = await get()
    etag = answer.headers["etag"]
    assert (answer.status_code, answer.content) == (200, whole)
    assert answer.headers["accept-ranges"] == "bytes"
    part = await get(range="bytes=10-19", if_range=etag)
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert (await get(range="bytes=-5")).content == whole[-5:]
    assert (await get(range="bytes=0-9", if_range='"other"')).content == whole
    same = await get(if_none_match=f'"x", W/{etag}')
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    for bad in ("bytes=9999-", "bytes=abc", "lines=1-2"):
        refused = await get(range=bad)
        assert refused.status_code == 416, bad
        assert refused.headers["content-range"] == f"bytes */{len(whole)}"
        assert refused.json()["code"] == "range_not_satisfiable"
    (root / "model" / "weights.bin").write_bytes(b"new")
    assert (await get(if_none_match=etag)).content == b"new"


async def test_everything_as_one_archive(world: World) -> None:
    job_id, root = await left_files(world)
    answer = await world.client.get(f"/v1/jobs/{job_id}/archive")
    assert int(answer.headers["content-length"]) == len(answer.content)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        found = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
    assert found == {
        f"{job_id}/model/sub dir/é.txt": "é".encode(),
        f"{job_id}/model/weights.bin": (root / "model" / "weights.bin").read_bytes(),
        f"{job_id}/result.json": b"{}",
    }
    part = await world.client.get(f"/v1/jobs/{job_id}/archive?path=result.json")
    with tarfile.open(fileobj=io.BytesIO(part.content)) as archive:
        assert archive.getnames() == [f"{job_id}/result.json"]


async def test_a_file_that_shrinks_breaks_the_archive(world: World, tmp_path: Path) -> None:
    from api.service.artefacts import Artefact, tar

    file = tmp_path / "file"
    file.write_bytes(b"abc")
    with pytest.raises(OSError, match="became shorter"):
        list(tar("job", [Artefact("file", file, 5, 0.0)]))
    assert len(list(tar("job", [Artefact("file", file, 2, 0.0)]))) == 4


async def test_a_log_can_be_followed(world: World) -> None:
    job_id, _ = await world.started()
    attempt = world.launcher.attempts[f"{job_id}-a1"]
    attempt.log = "one\ntwo\nthree\n"
    path = f"/v1/jobs/{job_id}/logs"
    whole = await world.get(path)
    assert (whole["text"], whole["offset"], whole["next_offset"]) == (attempt.log, 0, 14)
    assert not whole["ended"]
    assert (await world.get(path, tail=2))["text"] == "two\nthree\n"
    assert (await world.get(path, tail=9))["text"] == attempt.log
    assert (await world.get(path, tail=0))["next_offset"] == 14
    part = await world.get(path, offset=4, limit=3)
    assert (part["text"], part["next_offset"]) == ("two", 7)
    attempt.log += "four\n"
    more = await world.get(path, offset=whole["next_offset"])
    assert more["text"] == "four\n"
    assert (await world.get(path, offset=10_000))["text"] == ""
    refused = await world.client.get(path, params={"tail": 1, "offset": 1})
    assert (refused.status_code, refused.json()["param"]) == (400, "tail")
    world.launcher.succeed(f"{job_id}-a1")
    await world.turn(2)
    assert (await world.get(path, offset=14))["ended"]


async def test_metrics_are_thinned_out_evenly(world: World) -> None:
    job_id, driver = await world.started()
    await driver.say(*[step(number) for number in range(2, 101)])
    path = f"/v1/jobs/{job_id}/metrics"
    assert len((await world.get(path))["data"]) == 100
    few = await world.get(path, points=5)
    assert [point["step"] for point in few["data"]] == [1, 26, 51, 75, 100]
    assert few["total"] == 100
    assert len((await world.get(path, points=1000))["data"]) == 100
    assert (await world.client.get(path, params={"points": 1})).status_code == 422
