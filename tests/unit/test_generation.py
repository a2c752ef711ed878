"""Answers that are told while they grow."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_service.errors import DataError
from rlhf_service.generation.decode import Row, answers, nucleus
from rlhf_service.generation.protocol import Ask, Reply
from rlhf_service.models.build import build_scratch
from rlhf_service.models.digest import digests
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.ports import WeightSnapshot
from rlhf_service.records import Prompt
from rlhf_service.rollout.transformers import TransformersEngine
from rlhf_service.spec.model import ScratchModel
from rlhf_service.spec.ppo import SamplingSpec

torch.set_num_threads(1)
TOKENIZER = train_tokenizer(["good film", "bad film"], 300)
SPEC = ScratchModel(hidden_size=16, num_layers=1, num_heads=2, context_length=32, vocab_size=300)
MODEL = build_scratch(SPEC, TOKENIZER, seed=0).eval()


def told(replies: list[Reply], row: int) -> str:
    return "".join(r.text for r in replies if r.type == "text" and r.row == row)


def ask(**changes: object) -> list[Reply]:
    asked = Ask.model_validate({"prompts": ["good"], "max_tokens": 12, **changes})
    return list(answers(MODEL, TOKENIZER, asked, lambda: False))


@pytest.mark.parametrize("greedy", [True, False])
def test_it_answers_as_the_rollout_engine_does(greedy: bool) -> None:
    engine = TransformersEngine(MODEL, TOKENIZER)
    state = {name: tensor.clone() for name, tensor in MODEL.state_dict().items()}
    engine.load_weights(WeightSnapshot(1, digests(state), state))
    ids = tuple(TOKENIZER.encode("good"))
    prompts = [
        Prompt(position=0, sample=sample, row=0, text="good", token_ids=ids) for sample in range(3)
    ]
    sampling = SamplingSpec(max_new_tokens=12, greedy=greedy)
    expected = engine.generate(prompts, sampling, version=1, seed=5)
    replies = ask(n=3, seed=5, temperature=0 if greedy else 1)
    assert [told(replies, row) for row in range(3)] == [rollout.text for rollout in expected]
    assert replies[-1].type == "end"
    assert replies[-1].prompt_tokens == len(ids)
    assert replies[-1].completion_tokens == sum(len(r.token_ids) for r in expected)
    finished = {r.row: r.reason for r in replies if r.type == "finish"}
    assert finished == {
        row: "length" if rollout.truncated else "stop" for row, rollout in enumerate(expected)
    }


def test_a_stop_text_ends_the_answer_before_it() -> None:
    whole = told(ask(seed=3), 0)
    mark = whole[2:4]
    replies = ask(seed=3, stop=[mark])
    assert told(replies, 0) == whole[: whole.index(mark)]
    assert [r.reason for r in replies if r.type == "finish"] == ["stop"]
    assert replies[-1].completion_tokens < 12


@given(
    text=st.text(alphabet="ab\ufffd", max_size=12),
    stop=st.text(alphabet="ab", min_size=1, max_size=3),
)
def test_what_is_told_is_the_text_up_to_the_stop(text: str, stop: str) -> None:
    row, said = Row((stop,)), ""
    for end in range(1, len(text) + 1):
        new, stopped = row.grow(text[:end], end == len(text))
        said += new
        if stopped:
            break
    assert said == (text[: text.index(stop)] if stop in text else text)


def test_an_answer_ends_where_the_context_does() -> None:
    replies = ask(max_tokens=1000)
    assert replies[-1].prompt_tokens + replies[-1].completion_tokens <= 32
    with pytest.raises(DataError, match="context 32"):
        ask(prompts=["good film " * 40])


def test_a_cancelled_answer_ends() -> None:
    asked = Ask(prompts=("good",), max_tokens=20)
    replies = list(answers(MODEL, TOKENIZER, asked, lambda: True))
    assert replies[-1].completion_tokens == 1


def test_nucleus_keeps_the_likeliest_that_reach_the_share() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log()
    kept = nucleus(logits, 0.7).isfinite()
    assert kept.tolist() == [[False, True, False, True]]
    assert nucleus(logits, 0.01).isfinite().sum() == 1
    assert torch.equal(nucleus(logits, 1.0), logits)


def test_one_seed_is_one_answer() -> None:
    assert told(ask(seed=1), 0) == told(ask(seed=1), 0) != told(ask(seed=2), 0)
