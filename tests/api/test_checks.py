"""What can be told before a job: of a data file, of a reward."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.api.world import JSON, World

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]


async def upload(world: World, text: str) -> str:
    form = {"files": {"file": ("mine.jsonl", text.encode())}, "data": {"purpose": "fine-tune"}}
    answer = await world.client.post("/v1/files", **form)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def test_a_file_is_told_what_it_is_good_for(world: World) -> None:
    rows = ['{"prompt": "2+2=", "completion": "4"}', '{"prompt": "3+3="}', "", '{"prompt": 1}']
    file_id = await upload(world, "\n".join(rows) + "\n")
    report = await world.get(f"/v1/files/{file_id}/report")
    fits = {fit["stages"]: fit for fit in report["fits"]}
    assert not fits["sft"]["readable"]
    assert [row["place"] for row in fits["sft"]["bad_rows"]] == ["line 2", "line 4"]
    assert "completion" in fits["sft"]["bad_rows"][0]["message"]
    assert "mine.jsonl" in fits["sft"]["fault"] and file_id not in fits["sft"]["fault"]
    good = await upload(world, rows[0] + "\n")
    fits = {f["stages"]: f for f in (await world.get(f"/v1/files/{good}/report"))["fits"]}
    assert (fits["sft"]["readable"], fits["sft"]["rows"], fits["sft"]["bad_rows"]) == (True, 1, [])
    assert fits["sft"]["longest"] == 5
    assert (await world.client.get("/v1/files/file-none/report")).status_code == 404


def rewarded(world: World, reward: JSON, **changes: object) -> JSON:
    path = world.settings.storage / "data" / "prompts.jsonl"
    path.write_text('{"prompt": "2+2=", "reference": "4"}\n{"prompt": "3+3=", "reference": "6"}\n')
    stage = {"type": "grpo", "prompts": {"path": str(path)}, "reward": reward, "steps": 2}
    return {**world.spec(), "stages": [{**stage, **changes}]}


CHECK = {
    "type": "string_check",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.reference}}",
}


async def test_a_reward_is_looked_at_before_any_job(world: World) -> None:
    body = {"spec": rewarded(world, CHECK)}
    answer = await world.client.post("/v1/jobs:preflight", json=body)
    assert answer.status_code == 200, answer.text
    findings = answer.json()["findings"]
    assert (findings["mean"], findings["n"], findings["failures"]) == (1.0, 2, {})
    assert findings["trivial"]["empty"] == 0.0
    assert findings["trivial"]["another row's reference"] == 0.0
    assert (await world.get("/v1/jobs"))["data"] == []
    # What pays for anything is told.
    lazy = {"type": "repetition"}
    answer = await world.client.post(
        "/v1/jobs:preflight", json={"spec": rewarded(world, lazy), "stage": "grpo"}
    )
    assert answer.json()["findings"]["warnings"]


@pytest.mark.parametrize(
    ("reward", "param"),
    [
        ({"type": "regex", "pattern": "(a+)+$"}, "stages[0].reward.type"),
        (
            {"type": "blend", "rewards": [{"type": "regex", "pattern": "a"}], "weights": [1]},
            "stages[0].reward.rewards[0].type",
        ),
    ],
)
async def test_what_needs_more_is_sent_to_the_command_line(
    world: World, reward: JSON, param: str
) -> None:
    answer = await world.client.post("/v1/jobs:preflight", json={"spec": rewarded(world, reward)})
    assert answer.status_code == 422, answer.text
    assert answer.json()["param"] == param


async def test_an_encoder_is_not_run_here(world: World) -> None:
    folder = world.settings.storage / "data" / "encoder"
    encoder = {"type": "folder", "path": str(folder)}
    cosine = {
        "type": "text_similarity",
        "evaluation_metric": "cosine",
        "input": "{{sample.output_text}}",
        "reference": "{{item.reference}}",
        "encoder": encoder,
    }
    answer = await world.client.post("/v1/jobs:preflight", json={"spec": rewarded(world, cosine)})
    assert (answer.status_code, answer.json()["param"]) == (422, "stages[0].reward.type")
    assert "rlhf preflight" in answer.json()["detail"]
    body = {"grader": {**cosine, "name": "near"}, "model_sample": "a", "item": {"reference": "b"}}
    answer = await world.client.post("/v1/fine_tuning/alpha/graders/run", json=body)
    assert (answer.status_code, answer.json()["param"]) == (400, "grader.type")


async def test_a_preflight_reads_no_more_than_a_job_may(world: World) -> None:
    spec = rewarded(world, CHECK)
    spec["stages"][0]["prompts"]["path"] = "/etc/passwd"
    answer = await world.client.post("/v1/jobs:preflight", json={"spec": spec})
    assert (answer.status_code, answer.json()["param"]) == (400, "stages[0].prompts.path")
    answer = await world.client.post(
        "/v1/jobs:preflight", json={"spec": rewarded(world, CHECK), "stage": "none"}
    )
    assert answer.status_code == 400 and "'none'" in answer.json()["detail"]
    many = rewarded(world, CHECK, preflight={"num_prompts": 5000})
    answer = await world.client.post("/v1/jobs:preflight", json={"spec": many})
    assert answer.status_code == 422


async def test_a_preflight_brings_no_torch_in(world: World) -> None:
    code = (
        "import sys, json; from rlhf_service.spec import JobSpec; "
        "from api.service.preflights import look; "
        "look(JobSpec.model_validate_json(sys.argv[1]), None); assert 'torch' not in sys.modules"
    )
    spec = world.spec() | rewarded(world, CHECK)
    import json

    command = [sys.executable, "-c", code, json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


async def test_a_busy_service_says_when_to_come_back(world: World) -> None:
    world.services.preflights._running = 10**6
    body = {"spec": rewarded(world, CHECK)}
    answer = await world.client.post("/v1/jobs:preflight", json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert "x-should-retry" not in answer.headers
