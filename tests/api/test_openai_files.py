"""`client.files` of the openai package against this service."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.served import Served, lines, served

ROWS = lines([{"prompt": "2+2=", "completion": "4"}, {"prompt": "3+3=", "completion": "6"}])


@pytest.fixture
def here(tmp_path: Path, database_url: str) -> Iterator[Served]:
    settings = make_settings(tmp_path, database_url, max_file_bytes=400_000)
    with served(settings, FakeLauncher()) as made:
        yield made


sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_file_is_kept_listed_read_and_deleted(here: Served) -> None:
    client = here.openai()
    made = client.files.create(file=("../rows é.jsonl", ROWS), purpose="fine-tune")
    assert (made.object, made.bytes, made.status) == ("file", len(ROWS), "processed")
    assert made.filename == "rows é.jsonl"
    assert made.sha256 == hashlib.sha256(ROWS).hexdigest()
    assert Path(made.path).read_bytes() == ROWS
    assert Path(made.path).is_relative_to(here.settings.storage / "data")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == ROWS
    assert [file.id for file in client.files.list()] == [made.id]
    gone = client.files.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "file")
    assert not Path(made.path).exists()
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_pages_follow_the_cursor_in_both_orders(here: Served) -> None:
    client = here.openai()
    ids = [client.files.create(file=(f"{n}.jsonl", ROWS), purpose="fine-tune").id for n in range(5)]
    assert [file.id for file in client.files.list(limit=2)] == ids[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == ids
    page = client.files.list(limit=2, order="asc")
    assert (len(page.data), page.has_more) == (2, True)
    assert list(client.files.list(purpose="batch")) == []
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.list(after="file-none")
    assert caught.value.param == "after"


@sqlite
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"prompt": "a"}\n{"prompt": \n[1]\n', "line 2: not JSON"),
        (b'{"prompt": "a"}\n[1]\n', "line 2: a row must be a JSON object, not list"),
        (b'{"a": 1}\n\xff\n', "line 2: not UTF-8"),
        (b"\n \n", "no rows"),
        (b"", "no rows"),
    ],
)
def test_a_file_that_is_no_jsonl_is_refused_by_line(
    here: Served, content: bytes, says: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        here.openai().files.create(file=("rows.jsonl", content), purpose="fine-tune")
    assert says in caught.value.message
    assert (caught.value.param, caught.value.code) == ("file", "invalid_data")
    assert list(here.settings.uploads.iterdir()) == []


@sqlite
def test_what_is_too_large_leaves_nothing_behind(here: Served) -> None:
    most = here.settings.max_file_bytes
    row = lines([{"prompt": "x" * 1000}])
    for content in (row * (most // len(row) + 1), row * (most // len(row) * 9)):
        with pytest.raises(openai.APIStatusError) as caught:
            here.openai().files.create(file=("big.jsonl", content), purpose="fine-tune")
        assert caught.value.status_code == 413
        assert list(here.settings.uploads.iterdir()) == []
    fits = row * (most // len(row))
    assert here.openai().files.create(file=("fits.jsonl", fits), purpose="fine-tune").bytes == len(
        fits
    )


@sqlite
def test_a_form_that_cannot_be_done_names_its_field(here: Served) -> None:
    client = here.openai()
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a.jsonl", ROWS), purpose="batch")
    assert caught.value.param == "purpose"
    with here.http() as http:
        cases: list[tuple[dict[str, object], str]] = [
            ({"data": {"purpose": "fine-tune"}, "files": {"other": ROWS}}, "file"),
            ({"files": {"file": ROWS}}, "purpose"),
            ({"json": {"purpose": "fine-tune"}}, "file"),
            ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data"}}, "file"),
            (
                {
                    "content": b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\n{"a":1}',
                    "headers": {"content-type": "multipart/form-data; boundary=x"},
                },
                "file",
            ),
        ]
        for request, param in cases:
            answer = http.post("/v1/files", **request)  # type: ignore[arg-type]
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), request
            assert answer.headers["content-type"] == "application/problem+json"
    assert list(here.settings.uploads.iterdir()) == []


@sqlite
def test_without_a_key_nothing_is_read(here: Served) -> None:
    with pytest.raises(openai.AuthenticationError):
        here.openai(api_key="rlhf_wrong").files.create(file=("a", ROWS), purpose="fine-tune")
    answer = httpx.post(f"{here.base_url}/files", files={"file": ROWS})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")


@sqlite
def test_a_job_may_read_an_upload_and_keeps_it(here: Served) -> None:
    client = here.openai()
    made = client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune")
    stage = {"type": "sft", "data": {"path": made.path}, "steps": 2, "batch_size": 1}
    model = {"type": "scratch", "hidden_size": 8, "num_heads": 1}
    with here.http() as http:
        answer = http.post("/v1/jobs", json={"name": "n", "model": model, "stages": [stage]})
        assert answer.status_code == 201, answer.text
        with pytest.raises(openai.ConflictError) as caught:
            client.files.delete(made.id)
        assert answer.json()["id"] in caught.value.message
        http.post(f"/v1/jobs/{answer.json()['id']}/cancel")
    client.files.delete(made.id)
    assert not os.path.exists(made.path)
