"""`rlhf chat`: turns, what a model without a chat template is asked, and how it ends."""

from __future__ import annotations

import json

import httpx
import pytest
from typer.testing import CliRunner

from rlhf_service.cli import models as commands
from rlhf_service.cli.app import app
from rlhf_service.client import Client
from rlhf_service.models.build import build_scratch
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.spec import ScratchModel
from tests.unit.clients import AT_ONCE, Asked

MODEL = {"id": "m", "name": "m", "path": "/x", "chat": True}


def spoken(*pieces: str) -> httpx.Response:
    chunks = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return httpx.Response(200, text=text + "data: [DONE]\n\n")


class Interrupted(httpx.SyncByteStream):
    """Half an answer, and then the user presses Ctrl-C."""

    closed = False

    def __iter__(self):
        yield b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n'
        raise KeyboardInterrupt

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def chat(monkeypatch, tmp_path):
    """Runs the command against a service that gives those answers; (run, what was asked)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, answers=(), typed: str = ""):
        asked = Asked([lambda answer=answer: answer for answer in answers])
        transport = httpx.MockTransport(asked.answer)
        made = Client("http://service", "key", transport=transport, retry=AT_ONCE)
        monkeypatch.setattr(commands, "connect", lambda: made)
        ran = CliRunner().invoke(app, ["chat", *words], input=typed)
        bodies = [json.loads(sent.content) for sent in asked.requests if sent.method == "POST"]
        return ran, asked.requests, bodies

    return run


def test_turns_are_kept_and_the_system_speaks_first(chat):
    answers = httpx.Response(200, json=MODEL), spoken("he", "llo"), spoken("bye")
    ran, _, [first, second] = chat(
        *("m", "--system", "be brief", "--seed", "3", "--max-new-tokens", "9"),
        answers=answers,
        typed="hi\nand now?\n\nnever asked\n",
    )
    assert ran.exit_code == 0 and ran.output == "hello\nbye\n"
    assert first["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]
    assert (first["stream"], first["seed"], first["max_tokens"]) == (True, 3, 9)
    assert second["messages"] == [
        *first["messages"],
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "and now?"},
    ]


def test_a_model_without_a_template_goes_on_from_each_text_alone(chat):
    plain = httpx.Response(200, json={**MODEL, "chat": False})
    ran, requests, bodies = chat(
        "m", answers=(plain, spoken(" was"), spoken(" is")), typed="It\nThat"
    )
    assert ran.exit_code == 0, ran.output
    assert [sent.url.path for sent in requests[1:]] == ["/v1/completions"] * 2
    assert [body["prompt"] for body in bodies] == ["It", "That"]
    assert "seed" not in bodies[0]
    refused, *_ = chat("m", "--system", "x", "--prompt", "y", answers=(plain,))
    assert refused.exit_code == 1 and "no chat template" in refused.output


def test_a_jobs_checkpoint_has_its_own_name(chat):
    answers = httpx.Response(200, json=MODEL), spoken("x")
    ran, requests, [body] = chat(
        *("job-1", "--checkpoint", "sft-step-000010", "--prompt", "hi"), answers=answers
    )
    assert ran.exit_code == 0, ran.output
    assert body["model"] == "job-1:ckpt-sft-step-000010"
    assert requests[0].url.path == "/v1/models/job-1:ckpt-sft-step-000010"


def test_an_unknown_model_and_a_busy_service_are_one_line(chat):
    def problem(status: int, message: str) -> httpx.Response:
        return httpx.Response(status, json={"detail": message})

    missing = problem(404, "there is no model 'none'")
    ran, *_ = chat("none", "--prompt", "x", answers=(missing, missing))
    assert ran.exit_code == 1
    assert "error: there is no model 'none'; `rlhf models` lists them" in ran.output
    busy = httpx.Response(200, json=MODEL), problem(429, "every model is answering")
    ran, *_ = chat("m", "--prompt", "x", answers=busy)
    assert ran.exit_code == 1 and ran.output == "error: every model is answering\n"
    gone = httpx.Response(200, json=MODEL), httpx.ReadError("connection reset")
    ran, *_ = chat("m", "--prompt", "x", answers=gone)
    assert ran.exit_code == 1 and "does not answer: connection reset" in ran.output


def test_ctrl_c_closes_the_answer_and_leaves(chat):
    stream = Interrupted()
    answers = httpx.Response(200, json=MODEL), httpx.Response(200, stream=stream)
    ran, *_ = chat("m", "--prompt", "x", answers=answers)
    assert ran.exit_code == 130 and stream.closed
    assert ran.output.strip() == "half" and "Traceback" not in ran.output


def test_a_folder_of_this_machine_needs_no_service(chat, tmp_path):
    tokenizer = train_tokenizer(["good film", "bad film"], 300)
    spec = ScratchModel(hidden_size=16, num_layers=1, num_heads=2, context_length=64)
    build_scratch(spec, tokenizer, seed=1).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    words = "tiny", "--prompt", "good", "--seed", "3", "--max-new-tokens", "6"
    ran, requests, _ = chat(*words)
    again, *_ = chat(*words)
    other, *_ = chat(*words[:-3], "4", *words[-2:])
    assert ran.exit_code == 0 and requests == []
    assert ran.output == again.output != other.output
