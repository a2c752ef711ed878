"""`client.chat.completions` and `client.completions` of the openai package, by a real small model."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
import torch

from api.service.generation import Generation
from rlhf_service.models.build import build_scratch
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.spec.model import ScratchModel
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.served import Served, served, until

HELLO = [{"role": "user", "content": "good"}]


def save_model(folder: Path, context: int, template: str | None = None) -> None:
    """A real network of a few thousand weights."""
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(["good film", "bad film"], 300)
    tokenizer.chat_template = template
    spec = ScratchModel(
        hidden_size=16, num_layers=1, num_heads=2, context_length=context, vocab_size=300
    )
    build_scratch(spec, tokenizer, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    models = tmp_path_factory.mktemp("models")
    save_model(models / "tiny", 64)
    save_model(models / "long", 16_384)
    save_model(models / "chat", 64, "{% for m in messages %}<{{ m.content }}>{% endfor %}")
    (models / "broken").mkdir()
    for name in ("config.json", "tokenizer.json"):
        (models / "broken" / name).write_text("{}")
    (models / "broken" / "model.safetensors").write_bytes(b"no tensors")
    settings = make_settings(
        tmp_path_factory.mktemp("here"),
        "",
        base_models={"local": models},
        generation_threads=1,
        generation_models=2,
        generation_timeout=60,
    )
    with served(settings, FakeLauncher()) as made:
        yield made
    until(lambda: not workers())


@pytest.fixture(scope="module")
def client(here: Served) -> Any:
    return here.openai(max_retries=0)


def workers() -> list[psutil.Process]:
    """Our generating processes."""
    mine = psutil.Process(os.getpid()).children(recursive=True)
    return [
        process
        for process in mine
        if process.status() != psutil.STATUS_ZOMBIE
        and "rlhf_service.generation" in process.cmdline()
    ]


def test_a_chat_streamed_and_whole_say_the_same(client: Any) -> None:
    asked = {"model": "local/tiny", "messages": HELLO, "max_tokens": 12, "seed": 3, "n": 2}
    whole = client.chat.completions.create(**asked)
    assert (whole.object, whole.model) == ("chat.completion", "local/tiny")
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert all(choice.finish_reason in ("stop", "length") for choice in whole.choices)
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert 0 < whole.usage.completion_tokens <= 24
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1
    for choice in whole.choices:
        mine = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
        assert mine[0].delta.role == "assistant"
        assert "".join(c.delta.content or "" for c in mine) == choice.message.content
        assert [c.finish_reason for c in mine if c.finish_reason] == [choice.finish_reason]
        assert len(mine) > 3  # it came in pieces
    assert client.chat.completions.create(**asked).choices == whole.choices


def test_a_chat_is_written_as_in_training(client: Any) -> None:
    """The chat template where there is one, else a line each: what a plain completion can repeat."""
    for model, prompt in (("local/tiny", "good\n"), ("local/chat", "<good>")):
        asked = {"model": model, "max_tokens": 8, "temperature": 0}
        chat = client.chat.completions.create(messages=HELLO, **asked)
        plain = client.completions.create(prompt=prompt, **asked)
        assert chat.choices[0].message.content == plain.choices[0].text
        assert chat.usage == plain.usage


def test_completions_of_several_prompts(client: Any) -> None:
    asked = {"model": "local/tiny", "prompt": ["good", "bad film"], "seed": 1, "max_tokens": 6}
    whole = client.completions.create(**asked)
    assert whole.object == "text_completion"
    assert [choice.index for choice in whole.choices] == [0, 1]
    texts = ["", ""]
    for chunk in client.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": []}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content",
        ),
        ({"temperature": 3}, "temperature"),
        ({"n": 17}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"max_tokens": 3, "max_completion_tokens": 3}, "max_tokens"),
        ({"model": "local/broken"}, "model"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    client: Any, changes: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "local/tiny", "messages": HELLO, **changes})
    assert caught.value.param == param, caught.value.message


def test_a_model_that_is_not_there(client: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-9", messages=HELLO)


def test_a_prompt_beyond_the_context_is_refused_also_when_streaming(client: Any) -> None:
    long = [{"role": "user", "content": "good film " * 100}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="local/tiny", messages=long, stream=stream)
        assert "context 64" in caught.value.message
    assert client.chat.completions.create(model="local/tiny", messages=HELLO, max_tokens=1).choices


def test_a_client_that_leaves_frees_the_model(here: Served, client: Any) -> None:
    """An answer of 16 000 tokens takes minutes; the next one comes at once all the same."""
    stream = client.chat.completions.create(
        model="local/long", messages=HELLO, max_tokens=16_000, stream=True, logit_bias={}
    )
    for _ in zip(range(5), stream, strict=False):
        pass
    stream.close()
    quick = here.openai(max_retries=0, timeout=30)
    assert quick.chat.completions.create(model="local/long", messages=HELLO, max_tokens=2).choices


def test_no_more_models_are_loaded_than_may_be(client: Any) -> None:
    for model in ("local/tiny", "local/chat", "local/long"):
        client.chat.completions.create(model=model, messages=HELLO, max_tokens=1)
        until(lambda: len(workers()) <= 2)
    assert {Path(process.cmdline()[-1]).name for process in workers()} == {"chat", "long"}


def test_a_dead_process_is_replaced(client: Any) -> None:
    asked = {"model": "local/tiny", "messages": HELLO, "max_tokens": 2, "seed": 1}
    before = client.chat.completions.create(**asked)
    [process] = [found for found in workers() if found.cmdline()[-1].endswith("tiny")]
    process.kill()
    process.wait(10)
    for _ in range(2):
        try:
            after = client.chat.completions.create(**asked)
        except openai.InternalServerError:
            continue  # it was asked before it was known to be dead
        break
    assert after.choices == before.choices
    assert process.pid not in [found.pid for found in workers()]


def test_closing_bears_an_answer_that_ends_meanwhile(tmp_path: Path) -> None:
    generation = Generation(None, None, make_settings(tmp_path, ""))  # type: ignore[arg-type]
    closed: list[str] = []

    class Ending:
        """A generator whose last answer ends, and takes others out, while it is being closed."""

        def __init__(self, name: str) -> None:
            self.name = name

        async def close(self) -> None:
            closed.append(self.name)
            generation._generators.pop(Path(self.name), None)

    for name in ("a", "b"):
        generation._generators[Path(name)] = Ending(name)  # type: ignore[assignment]
    asyncio.run(generation.close())
    assert closed == ["a", "b"] and not generation._generators
