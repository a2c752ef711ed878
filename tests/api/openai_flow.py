"""The whole life of a fine-tuning job through one version of the openai package, and nothing else.

`python -I openai_flow.py <folder of the package> <base_url> <key> <model> <checkpoint>`; tells the id
of the job that is to succeed on its first line and `ok` on its last. The model and the checkpoint are
those of an earlier job.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

sys.path.insert(0, sys.argv[1])

import openai

ROW = (
    b'{"messages": [{"role": "user", "content": "2+2="}, {"role": "assistant", "content": "4"}]}\n'
)
GRADER = {
    "type": "string_check",
    "name": "right",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "4",
}
OURS = {"rlhf": {"model": {"hidden_size": 8, "num_heads": 1}}}


def until(jobs, job_id, status):
    end = time.monotonic() + 60
    while (job := jobs.retrieve(job_id)).status != status:
        assert time.monotonic() < end, (job.status, status)
        time.sleep(0.05)
    return job


def methods(client) -> None:
    """Preferences and reinforcement, as their own files ask."""
    asked = {"messages": [{"role": "user", "content": "2+2="}]}
    right, wrong = ([{"role": "assistant", "content": text}] for text in ("4", "5"))
    pair = {"input": asked, "preferred_output": right, "non_preferred_output": wrong}
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}
    job = started(client, pair, method)
    assert job.method.dpo.hyperparameters.beta == 0.2
    prompt = {**asked, "answer": "4"}
    grader = {**GRADER, "reference": "{{item.answer}}"}
    method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    job = started(client, prompt, method)
    assert job.method.type == "reinforcement"


def started(client, row, method):
    content = json.dumps(row).encode() + b"\n"
    file = client.files.create(file=("rows.jsonl", content), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="scratch", training_file=file.id, method=method, extra_body=OURS
    )
    client.fine_tuning.jobs.cancel(job.id)
    until(client.fine_tuning.jobs, job.id, "cancelled")
    return job


def uploads(client) -> None:
    """A file in parts, by the client's own cutting and by hand."""
    rows = ROW * 50
    done = client.uploads.upload_file_chunked(
        file=rows,
        filename="rows.jsonl",
        bytes=len(rows),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=1000,
    )
    assert done.status == "completed"
    assert client.files.content(done.file.id).read() == rows
    client.files.delete(done.file.id)
    kind = {"purpose": "fine-tune", "mime_type": "text/jsonl"}
    other = client.uploads.create(filename="x.jsonl", bytes=len(ROW) + 1, **kind)
    part = client.uploads.parts.create(other.id, data=ROW)
    try:
        client.uploads.complete(other.id, part_ids=[part.id])
    except openai.BadRequestError as fault:
        assert fault.param == "part_ids"
    else:
        raise AssertionError("its size was not checked")
    assert client.uploads.cancel(other.id).status == "cancelled"


def chats(client, model) -> None:
    """Whole and streamed, as a chat and as plain text."""
    asked = {"model": model, "messages": [{"role": "user", "content": "good"}]}
    asked |= {"max_tokens": 6, "seed": 3}
    whole = client.chat.completions.create(**asked)
    told = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(**asked, stream=True)
        if chunk.choices
    )
    assert told == whole.choices[0].message.content and whole.usage.completion_tokens > 0
    plain = {"model": model, "prompt": "good", "max_tokens": 4, "seed": 3}
    text = client.completions.create(**plain).choices[0].text
    pieces = [part.choices[0].text for part in client.completions.create(**plain, stream=True)]
    assert "".join(pieces) == text


def permissions(client, checkpoint) -> None:
    """Another tenant may use a checkpoint, and then may not."""
    assert client.models.retrieve(checkpoint).id == checkpoint
    granted = client.fine_tuning.checkpoints.permissions
    [made] = granted.create(checkpoint, project_ids=["blue"]).data
    assert (made.object, made.project_id) == ("checkpoint.permission", "blue")
    assert [one.id for one in granted.create(checkpoint, project_ids=["blue"])] == [made.id]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer ones have `list`
        found = granted.retrieve(checkpoint, project_id="blue", order="ascending")
    assert [one.id for one in found.data] == [made.id] and not found.has_more
    [other] = granted.create(checkpoint, project_ids=["red"]).data
    if hasattr(granted, "list"):
        assert [one.id for one in granted.list(checkpoint, limit=1)] == [other.id, made.id]
    for one in (made, other):
        gone = granted.delete(one.id, fine_tuned_model_checkpoint=checkpoint)
        assert (gone.id, gone.deleted, gone.object) == (one.id, True, "checkpoint.permission")


def main() -> None:
    client = openai.OpenAI(base_url=sys.argv[2], api_key=sys.argv[3])
    jobs = client.fine_tuning.jobs
    file = client.files.create(file=("rows.jsonl", ROW), purpose="fine-tune")
    assert client.files.content(file.id).read() == ROW
    assert file.id in [found.id for found in client.files.list()]

    def create(**given):
        return jobs.create(model="scratch", training_file=file.id, extra_body=OURS, **given)

    key = {"Idempotency-Key": f"flow {openai.__version__}"}
    job = create(suffix="flow", extra_headers=key)
    assert create(suffix="flow", extra_headers=key).id == job.id
    print(job.id, flush=True)
    done = until(jobs, job.id, "succeeded")
    events = list(jobs.list_events(job.id, limit=2))
    assert len({event.id for event in events}) == len(events) > 4
    assert any(event.type == "metrics" for event in events)
    [checkpoint] = jobs.checkpoints.list(job.id)
    assert checkpoint.step_number == 1
    assert client.models.retrieve(done.fine_tuned_model).owned_by == "rlhf-service"
    assert done.fine_tuned_model in [model.id for model in client.models.list()]

    other = create(metadata={"flow": openai.__version__})
    assert [found.id for found in jobs.list(limit=1)][:2] == [other.id, job.id]
    by_metadata = {f"metadata[{name}]": value for name, value in other.metadata.items()}
    assert [found.id for found in jobs.list(extra_query=by_metadata)] == [other.id]
    without = [found.id for found in jobs.list(extra_query={"metadata": "null"})]
    assert job.id in without and other.id not in without
    jobs.pause(other.id)
    until(jobs, other.id, "paused")
    jobs.resume(other.id)
    jobs.cancel(other.id)
    until(jobs, other.id, "cancelled")

    graders = client.fine_tuning.alpha.graders
    graders.validate(grader=GRADER)
    assert graders.run(grader=GRADER, model_sample="4", extra_body={"item": {}}).reward == 1.0
    methods(client)
    uploads(client)
    permissions(client, sys.argv[5])
    for model in sys.argv[4:]:
        chats(client, model)

    for ask, kind in (
        (lambda: jobs.retrieve("ftjob-none"), openai.NotFoundError),
        (lambda: jobs.cancel(other.id + "x"), openai.NotFoundError),
        (
            lambda: jobs.resume(job.id),
            openai.ConflictError,
        ),
        (lambda: create(suffix="other", extra_headers=key), openai.ConflictError),
        (lambda: jobs.create(model="none", training_file=file.id), openai.BadRequestError),
        (lambda: client.with_options(api_key="no").models.list(), openai.AuthenticationError),
    ):
        try:
            ask()
        except kind as fault:
            assert fault.code and fault.message
        else:
            raise AssertionError(f"no {kind.__name__}")
    assert client.models.delete(done.fine_tuned_model).deleted
    assert client.files.delete(file.id).deleted
    print("ok", openai.__version__)


main()
