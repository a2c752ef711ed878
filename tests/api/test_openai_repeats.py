"""The same fine-tuning job asked for twice: on purpose, by a key, or because an answer was lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.api.served import Served
from tests.api.tuning import SCRATCH, create, running, upload


@pytest.fixture
def here(tmp_path: Path, database_url: str) -> Iterator[Served]:
    with running(tmp_path, database_url) as made:
        yield made


def test_one_idempotency_key_makes_one_job(here: Served) -> None:
    client = here.openai()
    file_id = upload(client)
    headers = {"Idempotency-Key": "one"}
    given = {"training_file": file_id, "extra_headers": headers}
    first = create(client, **given)
    assert create(client, **given).id == first.id
    resent = {**headers, "x-stainless-retry-count": "1"}
    assert create(client, training_file=file_id, extra_headers=resent).id == first.id
    with pytest.raises(openai.ConflictError) as caught:
        create(client, suffix="other", **given)
    assert caught.value.code == "idempotency_key_reused"
    assert [job.id for job in client.fine_tuning.jobs.list()] == [first.id]
    other = create(client, training_file=file_id, extra_headers={"Idempotency-Key": "two"})
    assert other.id != first.id


def test_a_lost_answer_makes_no_second_job(here: Served) -> None:
    """The client sends the same request again by itself, without any key."""
    import httpx2

    lost = []

    class Loses(httpx2.HTTPTransport):
        def handle_request(self, request: Any) -> Any:
            answer = super().handle_request(request)
            if request.url.path.endswith("/jobs") and request.method == "POST" and not lost:
                answer.read()
                lost.append(answer.json()["id"])
                raise httpx2.ReadError("the answer is lost")
            return answer

    plain = here.openai()
    file_id = upload(plain)
    client = here.openai(http_client=httpx2.Client(transport=Loses()))
    made = create(client, training_file=file_id)
    assert [made.id] == lost
    assert [job.id for job in plain.fine_tuning.jobs.list()] == lost
    # Asked for anew on purpose, it is a new job.
    assert create(plain, training_file=file_id).id != made.id


def test_a_job_is_created_once_and_says_so(here: Served) -> None:
    body = {"model": "scratch", "training_file": upload(here.openai()), "rlhf": SCRATCH}
    headers = {"idempotency-key": "x"}
    with here.http() as http:
        answers = [http.post("/v1/fine_tuning/jobs", json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
