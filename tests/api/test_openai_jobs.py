"""`client.fine_tuning.jobs` and `client.models` of the openai package against this service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from rlhf_service.events import CheckpointSaved, Log
from tests.api.served import CHAT, Served, until
from tests.api.tuning import GRADER, SCRATCH, create, running, succeed, upload
from tests.api.world import step

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def here(tmp_path: Path, database_url: str) -> Iterator[Served]:
    with running(tmp_path, database_url) as made:
        yield made


def test_a_job_from_upload_to_model(here: Served) -> None:
    client = here.openai()
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    file_id = upload(client)
    made = create(
        client,
        training_file=file_id,
        method=method,
        suffix="my sums",
        seed=7,
        metadata={"team": "a"},
    )
    assert made.object == "fine_tuning.job"
    assert (made.model, made.training_file, made.seed) == ("scratch", file_id, 7)
    assert (made.metadata, made.error, made.fine_tuned_model) == ({"team": "a"}, None, None)
    assert made.hyperparameters.n_epochs == 2
    assert made.method.supervised.hyperparameters.batch_size == 1
    assert made.status in ("queued", "running")
    here.begin(made.id)
    here.say(made.id, step(1), step(2), CheckpointSaved(stage="sft", step=2, path="/x", seconds=1))
    job = client.fine_tuning.jobs.retrieve(made.id)
    assert (job.status, job.rlhf["progress"]["step"]) == ("running", 2)
    assert job.estimated_finish >= job.created_at
    succeed(here, made.id)
    job = client.fine_tuning.jobs.retrieve(made.id)
    assert job.fine_tuned_model == f"ft:scratch:rlhf:my-sums:{made.id}"
    assert job.finished_at >= job.created_at

    model = client.models.retrieve(job.fine_tuned_model)
    assert (model.id, model.object, model.owned_by) == (
        job.fine_tuned_model,
        "model",
        "rlhf-service",
    )
    assert model.path == str(here.settings.folder(made.id).model)
    assert client.models.retrieve(made.id).id == model.id
    assert [m.id for m in client.models.list()] == [job.fine_tuned_model, "local/tiny"]

    tuned = create(client, model=job.fine_tuned_model, training_file=file_id, extra_body={})
    spec = here.launcher.attempts[here.submitted(tuned.id)]
    with here.http() as http:
        assert http.get(f"/v1/jobs/{tuned.id}").json()["spec"]["model"]["path"] == model.path
    assert spec.request.job_id == tuned.id
    with pytest.raises(openai.ConflictError):
        client.models.delete(job.fine_tuned_model)
    client.fine_tuning.jobs.cancel(tuned.id)
    until(lambda: client.fine_tuning.jobs.retrieve(tuned.id).status == "cancelled")
    gone = client.models.delete(job.fine_tuned_model)
    assert (gone.id, gone.deleted) == (job.fine_tuned_model, True)
    assert not Path(model.path).exists()
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(job.fine_tuned_model)
    assert client.fine_tuning.jobs.retrieve(made.id).status == "succeeded"


def test_events_and_checkpoints_page_from_the_newest(here: Served) -> None:
    client = here.openai()
    made = create(client)
    here.begin(made.id)
    saved = [CheckpointSaved(stage="sft", step=n, path="/x", seconds=1) for n in (1, 2, 3)]
    told = [event for n in (1, 2, 3) for event in (step(n, loss=1 / n), saved[n - 1])]
    here.say(made.id, *told, Log(level="warning", message="mind the gap"))
    events = list(client.fine_tuning.jobs.list_events(made.id, limit=2))
    whole = list(client.fine_tuning.jobs.list_events(made.id, limit=100))
    assert [event.id for event in events] == [event.id for event in whole]
    assert (events[0].level, events[0].message) == ("warn", "mind the gap")
    assert "The job is queued" in [event.message for event in events[-2:]]
    metrics = [event for event in events if event.type == "metrics"]
    assert [event.data["step"] for event in metrics] == [3, 2, 1]
    assert metrics[0].data["train_loss"] == pytest.approx(1 / 3)
    found = list(client.fine_tuning.jobs.checkpoints.list(made.id, limit=2))
    assert [checkpoint.step_number for checkpoint in found] == [3, 2, 1]
    assert found[0].metrics.train_loss == pytest.approx(1 / 3)
    assert found[0].fine_tuning_job_id == made.id
    assert found[0].fine_tuned_model_checkpoint.endswith(":ckpt-sft-step-3")
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.list_events(made.id, after="ftevent-other-1")
    assert caught.value.param == "after"


def test_jobs_page_and_filter_by_metadata(here: Served) -> None:
    client = here.openai()
    file_id = upload(client)
    ids = [
        create(client, training_file=file_id, metadata={"team": "a b", "n": str(n)}).id
        for n in range(3)
    ]
    bare = create(client, training_file=file_id).id
    jobs = client.fine_tuning.jobs
    assert [job.id for job in jobs.list(limit=2)] == [bare, *ids[::-1]]
    assert [job.id for job in jobs.list(metadata={"team": "a b", "n": "1"})] == [ids[1]]
    assert [job.id for job in jobs.list(metadata={"team": ""})] == []
    assert [job.id for job in jobs.list(extra_query={"metadata": "null"})] == [bare]
    with here.http() as http:
        native = {
            "name": "n",
            "model": {"type": "scratch", "hidden_size": 8, "num_heads": 1},
            "stages": [{"type": "sft", "data": {"path": client.files.retrieve(file_id).path}}],
        }
        # Made in this service's own words, it is none of OpenAI's jobs.
        answer = http.post("/v1/jobs", json=native)
        assert answer.status_code == 201, answer.text
    assert len(list(jobs.list())) == 4
    with pytest.raises(openai.NotFoundError):
        jobs.retrieve(answer.json()["id"])


def test_pause_resume_and_cancel(here: Served) -> None:
    client = here.openai()
    jobs = client.fine_tuning.jobs
    made = create(client)
    here.begin(made.id)
    assert jobs.pause(made.id).status == "running"
    until(lambda: jobs.retrieve(made.id).status == "paused")
    assert jobs.resume(made.id).status in ("queued", "running")
    here.submitted(made.id, attempt=2)
    assert jobs.cancel(made.id).status == "running"
    until(lambda: jobs.retrieve(made.id).status == "cancelled")
    for ask in (jobs.pause, jobs.resume):
        with pytest.raises(openai.ConflictError):
            ask(made.id)
    with pytest.raises(openai.NotFoundError):
        jobs.cancel("job-none")


@sqlite
def test_a_failed_job_says_why(here: Served) -> None:
    client = here.openai()
    made = create(client, extra_body={"rlhf": {**SCRATCH, "recovery": {"max_attempts": 1}}})
    here.begin(made.id)
    here.launcher.crash(here.submitted(made.id))
    until(lambda: client.fine_tuning.jobs.retrieve(made.id).status == "failed")
    error = client.fine_tuning.jobs.retrieve(made.id).error
    assert error is not None and error.code == "attempts_exhausted" and error.message
    [event] = [e for e in client.fine_tuning.jobs.list_events(made.id) if e.level == "error"]
    assert "failed" in event.message


@sqlite
def test_reinforcement_and_dpo_jobs_are_accepted(here: Served) -> None:
    client = here.openai()
    prompts = upload(client, *[{"messages": CHAT[:1], "answer": "4"} for _ in range(4)])
    hyperparameters = {"batch_size": 2, "eval_interval": 1}
    section = {"grader": GRADER, "hyperparameters": hyperparameters}
    made = create(
        client,
        model="local/tiny",
        training_file=prompts,
        validation_file=prompts,
        method={"type": "reinforcement", "reinforcement": section},
        extra_body={},
    )
    assert made.method.reinforcement.grader.operation == "eq"
    assert made.method.reinforcement.hyperparameters.batch_size == 2
    with here.http() as http:
        [stage] = http.get(f"/v1/jobs/{made.id}").json()["spec"]["stages"]
    assert (stage["type"], stage["steps"], stage["evaluation"]["every"]) == ("grpo", 2, 1)
    derived = Path(stage["prompts"]["path"])
    assert json.loads(derived.read_text().splitlines()[0])["prompt"] == "2+2=\n"
    answers = [{"role": "assistant", "content": text} for text in ("4", "5")]
    pairs = upload(
        client,
        {
            "input": {"messages": CHAT[:1]},
            "preferred_output": answers[:1],
            "non_preferred_output": answers[1:],
        },
    )
    dpo = create(client, training_file=pairs, method={"type": "dpo"})
    assert dpo.method.dpo.hyperparameters.beta == pytest.approx(0.1)
    client.fine_tuning.jobs.cancel(made.id)
    until(lambda: client.fine_tuning.jobs.retrieve(made.id).status == "cancelled")
    client.files.delete(prompts)
    assert not derived.exists()


@sqlite
def test_base_models_are_read_and_not_deleted(here: Served) -> None:
    client = here.openai()
    model = client.models.retrieve("local/tiny")
    assert (model.id, model.owned_by) == ("local/tiny", "base")
    with pytest.raises(openai.ConflictError):
        client.models.delete("local/tiny")
    for name in ("local", "local/..", "local/../control", "scratch", "job-none"):
        answer = httpx.get(
            f"{here.base_url}/models/{name.replace('/', '%2F')}",
            headers={"authorization": f"Bearer {here.key}"},
        )
        assert answer.status_code == 404, name
