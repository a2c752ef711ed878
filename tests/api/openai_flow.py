"""The whole life of a fine-tuning job through one version of the openai package, and nothing else.

`python -I -S openai_flow.py <folder of the package> <base_url> <key>`; tells the id of the job that
is to succeed on its first line and `ok` on its last.
"""

from __future__ import annotations

import sys
import time

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
    if hasattr(jobs, "pause"):
        jobs.pause(other.id)
        until(jobs, other.id, "paused")
        jobs.resume(other.id)
    jobs.cancel(other.id)
    until(jobs, other.id, "cancelled")

    graders = getattr(getattr(client.fine_tuning, "alpha", None), "graders", None)
    if graders is not None:
        graders.validate(grader=GRADER)
        assert graders.run(grader=GRADER, model_sample="4", extra_body={"item": {}}).reward == 1.0

    for ask, kind in (
        (lambda: jobs.retrieve("ftjob-none"), openai.NotFoundError),
        (lambda: jobs.cancel(other.id + "x"), openai.NotFoundError),
        (
            lambda: jobs.resume(job.id) if hasattr(jobs, "pause") else jobs.cancel(job.id),
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
    features = [name for name in ("pause",) if hasattr(jobs, name)]
    features += ["graders"] * (graders is not None)
    print("ok", openai.__version__, *features)


main()
