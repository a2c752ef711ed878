"""`client.uploads` of the openai package against this service."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import update

from api.store.tables import UploadRow
from api.store.types import now
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.served import Served, lines, served
from tests.api.world import running

ROWS = lines([{"prompt": f"{n}+{n}=", "completion": str(2 * n)} for n in range(400)])


@pytest.fixture
def here(tmp_path: Path, database_url: str) -> Iterator[Served]:
    settings = make_settings(tmp_path, database_url, max_file_bytes=400_000)
    with served(settings, FakeLauncher()) as made:
        yield made


sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def begin(client: Any, size: int = len(ROWS)) -> Any:
    return client.uploads.create(
        filename="../rows.jsonl", purpose="fine-tune", bytes=size, mime_type="text/jsonl"
    )


def left(here: Served) -> list[Path]:
    """Files of parts that lie in storage."""
    return [p for p in (here.settings.control / "uploads").rglob("*") if p.is_file()]


def test_a_file_comes_in_parts(here: Served) -> None:
    client = here.openai()
    upload = begin(client)
    assert (upload.object, upload.status, upload.file) == ("upload", "pending", None)
    assert upload.filename == "rows.jsonl" and upload.expires_at - upload.created_at == 3600
    cut = len(ROWS) // 3
    pieces = [ROWS[cut:], b"sent twice", ROWS[:cut]]  # in any order
    parts = [client.uploads.parts.create(upload.id, data=piece) for piece in pieces]
    assert {part.upload_id for part in parts} == {upload.id}
    with here.http() as http:  # what is there, after a break
        found = http.get(f"/v1/uploads/{upload.id}/parts").json()["data"]
        assert [part["id"] for part in found] == [part.id for part in parts]
        assert found[0]["sha256"] == hashlib.sha256(pieces[0]).hexdigest()
        assert http.get(f"/v1/uploads/{upload.id}").json()["status"] == "pending"
    order = [parts[2].id, parts[0].id]
    md5 = hashlib.md5(ROWS).hexdigest()
    done = client.uploads.complete(upload.id, part_ids=order, md5=md5)
    assert (done.status, done.file.bytes, done.file.purpose) == (
        "completed",
        len(ROWS),
        "fine-tune",
    )
    assert client.files.content(done.file.id).read() == ROWS
    assert client.files.retrieve(done.file.id).sha256 == hashlib.sha256(ROWS).hexdigest()
    assert client.uploads.complete(upload.id, part_ids=order).file.id == done.file.id
    assert left(here) == []
    with pytest.raises(openai.ConflictError):
        client.uploads.parts.create(upload.id, data=b"late")
    with pytest.raises(openai.ConflictError):
        client.uploads.cancel(upload.id)


@sqlite
def test_the_client_cuts_a_file_up_by_itself(here: Served) -> None:
    client = here.openai()
    done = client.uploads.upload_file_chunked(
        file=io.BytesIO(ROWS).getvalue(),
        filename="rows.jsonl",
        bytes=len(ROWS),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=1000,
    )
    assert client.files.content(done.file.id).read() == ROWS


@sqlite
def test_what_does_not_add_up_is_refused(here: Served) -> None:
    client = here.openai()
    upload = begin(client)
    part = client.uploads.parts.create(upload.id, data=ROWS)
    other = client.uploads.parts.create(begin(client).id, data=ROWS)
    for ask, param in (
        ({"part_ids": [part.id, part.id]}, "part_ids"),
        ({"part_ids": [other.id]}, "part_ids[0]"),
        ({"part_ids": [part.id], "md5": "0" * 32}, "md5"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.uploads.complete(upload.id, **ask)
        assert caught.value.param == param
    short = begin(client, len(ROWS) + 1)
    piece = client.uploads.parts.create(short.id, data=ROWS)
    with pytest.raises(openai.BadRequestError, match="announced with"):
        client.uploads.complete(short.id, part_ids=[piece.id])
    torn = begin(client, 5)
    piece = client.uploads.parts.create(torn.id, data=b"{no}\n")
    with pytest.raises(openai.BadRequestError, match="line 1"):
        client.uploads.complete(torn.id, part_ids=[piece.id])
    with pytest.raises(openai.BadRequestError) as caught:
        begin(client, 400_001)
    assert caught.value.param == "bytes"
    with pytest.raises(openai.NotFoundError):
        client.uploads.complete("upload_none", part_ids=["x"])
    assert client.files.list().data == []
    assert client.uploads.complete(upload.id, part_ids=[part.id]).status == "completed"


@sqlite
def test_a_cancelled_upload_leaves_nothing(here: Served) -> None:
    client = here.openai()
    upload = begin(client)
    client.uploads.parts.create(upload.id, data=ROWS)
    assert left(here)
    assert client.uploads.cancel(upload.id).status == "cancelled"
    assert client.uploads.cancel(upload.id).status == "cancelled"
    assert left(here) == []
    with pytest.raises(openai.ConflictError):
        client.uploads.complete(upload.id, part_ids=["x"])


@pytest.mark.asyncio
async def test_an_upload_expires(tmp_path: Path, database_url: str) -> None:
    settings = make_settings(tmp_path, database_url)
    async with running(settings, FakeLauncher()) as world:
        body = {"filename": "a", "purpose": "fine-tune", "bytes": 3, "mime_type": "text/jsonl"}
        upload = (await world.client.post("/v1/uploads", json=body)).json()["id"]
        path = f"/v1/uploads/{upload}"
        sent = await world.client.post(f"{path}/parts", files={"data": ("x", b"{}\n")})
        assert sent.status_code == 200, sent.text
        assert await world.services.uploads.expire() == 0
        async with world.services.database.write() as session:
            past = now() - timedelta(seconds=1)
            await session.execute(update(UploadRow).values(expires_at=past))
        assert (await world.get(path))["status"] == "expired"
        late = await world.client.post(f"{path}/parts", files={"data": ("x", b"{}\n")})
        assert (late.status_code, late.headers["x-should-retry"]) == (409, "false")
        assert await world.services.uploads.expire() == 1
        assert not list((settings.control / "uploads").rglob("part_*"))
        assert await world.services.uploads.expire() == 0
