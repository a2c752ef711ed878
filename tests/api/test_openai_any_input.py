"""No request under OpenAI's paths, however odd, is answered with a fault of ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.settings import Settings
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.test_any_input import anything, places, quick, replaced
from tests.api.world import World, running

GRADER = {
    "type": "multi",
    "name": "all",
    "graders": {
        "right": {
            "type": "string_check",
            "name": "right",
            "operation": "eq",
            "input": "{{sample.output_text}}",
            "reference": "{{item.answer}}",
        },
        "judge": {
            "type": "score_model",
            "name": "judge",
            "model": "m",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "rate"}]}],
        },
    },
    "calculate_output": "right + judge",
}
TEXT_GRADER = {
    **GRADER,
    "graders": {"right": GRADER["graders"]["right"]},
    "calculate_output": "right",
}


@pytest.fixture
def sqlite(tmp_path: Any) -> Settings:
    from tests.api.conftest import make_settings

    return make_settings(tmp_path, "")


def upload(world: World, runner: asyncio.Runner, content: bytes) -> Any:
    files = {"file": ("rows.jsonl", content)}
    post = world.client.post("/v1/files", data={"purpose": "fine-tune"}, files=files)
    return runner.run(post)


def check(answer: Any) -> None:
    assert answer.status_code in (200, 201, 400, 404, 409), answer.text
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert error["message"] and error["code"]


def test_requests(sqlite: Settings) -> None:
    with asyncio.Runner() as runner:
        entered = running(sqlite, FakeLauncher())
        world: World = runner.run(entered.__aenter__())
        file_id = upload(world, runner, b'{"prompt": "a", "answer": "b"}\n').json()["id"]
        section = {"grader": GRADER, "hyperparameters": {"batch_size": 1, "n_epochs": 1}}
        job = {
            "model": "scratch",
            "training_file": file_id,
            "suffix": "s",
            "seed": 1,
            "metadata": {"a": "b"},
            "method": {"type": "reinforcement", "reinforcement": section},
            "rlhf": {
                "model": {"hidden_size": 8, "num_heads": 1},
                "stage": {"type": "ppo", "ppo": {"epochs": 1}},
                "resources": {"learner": {"num_workers": 1}},
            },
        }
        chat = {
            "model": "local",
            "messages": [{"role": "user", "content": "x"}],
            "stop": ["a"],
            "stream_options": {"include_usage": True},
        }
        bodies: list[tuple[str, Any]] = [
            ("/v1/fine_tuning/jobs", job),
            ("/v1/fine_tuning/alpha/graders/validate", {"grader": GRADER}),
            (
                "/v1/fine_tuning/alpha/graders/run",
                {"grader": TEXT_GRADER, "model_sample": "4", "item": {"answer": "4"}},
            ),
            ("/v1/chat/completions", chat),
            ("/v1/completions", {"model": "local", "prompt": ["a"], "n": 1}),
        ]

        @quick
        @given(st.data())
        def attack(data: st.DataObject) -> None:
            path, body = data.draw(st.sampled_from(bodies))
            body = replaced(body, data.draw(st.sampled_from(places(body))), data.draw(anything))
            check(runner.run(world.client.post(path, json=body)))

        try:
            attack()
        finally:
            runner.run(entered.__aexit__(None, None, None))


def test_rows(sqlite: Settings) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}]
    rows: list[tuple[str, Any]] = [
        ("supervised", {"messages": turns}),
        (
            "dpo",
            {
                "input": {"messages": turns[:1], "tools": []},
                "preferred_output": turns[1:],
                "non_preferred_output": turns[1:],
            },
        ),
        ("reinforcement", {"messages": turns[:1], "answer": "b"}),
    ]
    with asyncio.Runner() as runner:
        entered = running(sqlite, FakeLauncher())
        world: World = runner.run(entered.__aenter__())

        @quick
        @given(st.data())
        def attack(data: st.DataObject) -> None:
            kind, row = data.draw(st.sampled_from(rows))
            row = replaced(row, data.draw(st.sampled_from(places(row))), data.draw(anything))
            uploaded = upload(world, runner, (json.dumps(row) + "\n").encode())
            check(uploaded)
            method: dict[str, Any] = {"type": kind}
            if kind == "reinforcement":
                method[kind] = {"grader": {"type": "regex", "pattern": "b"}}
            body = {"model": "scratch", "training_file": uploaded.json()["id"], "method": method}
            check(runner.run(world.client.post("/v1/fine_tuning/jobs", json=body)))

        try:
            attack()
        finally:
            runner.run(entered.__aexit__(None, None, None))


def test_uploads_and_queries(sqlite: Settings) -> None:
    queries = {
        "/v1/files": ("after", "limit", "order", "purpose"),
        "/v1/fine_tuning/jobs": ("after", "limit", "metadata", "metadata[a]", "metadata["),
        "/v1/fine_tuning/jobs/job-x/events": ("after", "limit"),
    }
    with asyncio.Runner() as runner:
        entered = running(sqlite, FakeLauncher())
        world: World = runner.run(entered.__aenter__())

        check(runner.run(world.client.get(httpx_path("/v1/models/", "\n"))))

        @quick
        @given(st.data())
        def attack(data: st.DataObject) -> None:
            path = data.draw(st.sampled_from(sorted(queries)))
            params = data.draw(
                st.dictionaries(st.sampled_from(queries[path]), st.text(max_size=8), max_size=3)
            )
            check(runner.run(world.client.get(path, params=params)))
            content = data.draw(st.binary(max_size=200))
            post = world.client.post(
                "/v1/files",
                content=data.draw(st.sampled_from([b"", b"--x\r\n", b"--x\r\nA: b\r\n\r\n"]))
                + content,
                headers={"content-type": "multipart/form-data; boundary=x"},
            )
            check(runner.run(post))
            model = data.draw(st.text(min_size=1, max_size=8))
            check(runner.run(world.client.get(httpx_path("/v1/models/", model))))

        try:
            attack()
        finally:
            runner.run(entered.__aexit__(None, None, None))


def httpx_path(prefix: str, name: str) -> str:
    from urllib.parse import quote

    return prefix + quote(name.encode("utf-8", "replace"), safe="")
