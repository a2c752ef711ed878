"""Rows → tokens: what is learnt, what is cut, what is padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_service.data.messages import Message
from rlhf_service.data.rows import CompletionRow, PreferenceRow, PromptRow, TextRow
from rlhf_service.data.tokens import (
    collate_sequences,
    collate_tokens,
    encode,
    encode_answers,
    encode_completions,
    encode_preferences,
    encode_prompts,
    pack_documents,
    start_id,
)
from rlhf_service.errors import DataError
from rlhf_service.models.tokenizer import train_tokenizer

CHATML = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TALK = CompletionRow(
    "",
    "",
    (
        Message("user", "good?"),
        Message("assistant", "\ndull"),
        Message("user", "and?"),
        Message("assistant", "cold"),
    ),
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a good film", "a bad film", "dull and cold"] * 4, 300)


@pytest.fixture
def chatty():
    tokenizer = train_tokenizer(["<user>good?</s>\n<assistant>\n\ndull"] * 4, 320)
    tokenizer.chat_template = CHATML
    return tokenizer


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(min_size=1)), min_size=1), st.integers(2, 24))
def test_targets_are_the_kept_part_of_completion_and_eos(tokenizer, texts, max_length):
    rows = [CompletionRow(prompt, completion) for prompt, completion in texts]
    wanted = []
    for row in rows:
        prompt = encode(row.prompt, tokenizer, start=True) or [start_id(tokenizer)]
        answer = [*encode(row.completion, tokenizer, start=False), tokenizer.eos_token_id]
        if len(prompt) < max_length:
            wanted.append((prompt, answer[: max_length - len(prompt)]))
    if not wanted:
        with pytest.raises(DataError, match="raise max_length or shorten the prompts"):
            encode_completions(rows, tokenizer, max_length)
        return
    found = encode_completions(rows, tokenizer, max_length)
    assert [r.token_ids for r in found] == [tuple(p + a) for p, a in wanted]
    assert [r.loss_mask for r in found] == [(False,) * len(p) + (True,) * len(a) for p, a in wanted]


def test_no_rows_are_no_error(tokenizer):
    assert encode_completions([], tokenizer, 4) == []


def test_every_assistant_turn_is_learnt_with_its_end_and_nothing_else(chatty):
    [row] = encode_completions([TALK], chatty, 256)
    learnt = [t for t, m in zip(row.token_ids, row.loss_mask, strict=True) if m]
    assert chatty.decode(learnt) == "\ndull</s>\ncold</s>\n"
    assert chatty.decode(row.token_ids) == chatty.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in TALK.messages], tokenize=False
    )


def test_an_answer_is_tokenised_as_sampling_would_see_it(chatty):
    """No token spans the prompt and the answer, even where the tokenizer would merge them."""
    [row] = encode_completions([TALK], chatty, 256)
    turns = [{"role": "user", "content": "good?"}]
    asked = chatty.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    prompt = encode(asked, chatty, start=False)
    assert list(row.token_ids[: len(prompt)]) == prompt
    assert not any(row.loss_mask[: len(prompt)]) and row.loss_mask[len(prompt)]


def test_a_conversation_may_open_with_the_assistant(chatty):
    [row] = encode_completions([CompletionRow("", "", (Message("assistant", "hi"),))], chatty, 64)
    assert row.loss_mask == (False, *[True] * (len(row.token_ids) - 1))


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "no chat template; use rows of plain text"),
        ("{{ raise_exception('roles must alternate') }}", "refuses a conversation .roles must"),
        ("{{ messages | length }}{{ messages[-1].content }}", "rewrites earlier turns"),
        ("{{ messages[", "refuses a conversation"),
    ],
)
def test_a_chat_template_that_cannot_serve_is_a_data_error(chatty, template, says):
    chatty.chat_template = template
    with pytest.raises(DataError, match=says):
        encode_completions([TALK], chatty, 256)


def test_both_answers_end_in_eos_unless_cut(tokenizer):
    [pair] = encode_preferences([PreferenceRow("a", " good film", " bad", 0.5)], tokenizer, 32)
    assert pair.chosen[-1] == pair.rejected[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(pair.chosen[:-1]) == "a good film"
    assert tokenizer.decode(pair.rejected[:-1]) == "a bad"
    assert pair.margin == 0.5
    [cut] = encode_preferences([PreferenceRow("a", " good film", " bad")], tokenizer, 2)
    assert cut.chosen == pair.chosen[:2] and cut.rejected == pair.rejected[:2]


def test_an_empty_prompt_becomes_the_start_token(tokenizer):
    assert encode_prompts([PromptRow("", {})], tokenizer, 4, "x") == [(tokenizer.bos_token_id,)]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8), st.integers(2, 16))
@settings(max_examples=40, deadline=None)
def test_blocks_laid_end_to_end_are_the_documents(tokenizer, texts, length):
    stream = [
        token
        for text in texts
        for token in [*encode(text, tokenizer, start=False), tokenizer.eos_token_id]
    ]
    blocks = pack_documents([TextRow(text) for text in texts], tokenizer, length, None)
    laid = [token for block in blocks for token in block.token_ids]
    assert laid == stream[: len(laid)]
    assert len(stream) - len(laid) < length
    assert all(block.loss_mask == (False, *[True] * (length - 1)) for block in blocks)


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=6))
def test_collating_loses_nothing(sequences):
    batch = collate_sequences([tuple(ids) for ids in sequences])
    kept = [
        row[mask.bool()].tolist()
        for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
    ]
    assert kept == sequences
    assert batch.attention_mask.sum(dim=1).tolist() == [len(ids) for ids in sequences]
    assert batch.input_ids.shape == (len(sequences), max(map(len, sequences)))
    assert not batch.loss_mask.any()


def test_padding_is_never_a_target(tokenizer):
    rows = encode_completions(
        [CompletionRow("a", " good film"), CompletionRow("a bad", " film and dull and cold")],
        tokenizer,
        32,
    )
    batch = collate_tokens(rows)
    assert batch.loss_mask.sum(dim=1).tolist() == [row.num_targets for row in rows]
    assert not (batch.loss_mask & (batch.attention_mask == 0)).any()
    assert batch.input_ids.dtype == torch.long and batch.loss_mask.dtype == torch.bool


def test_an_answer_in_a_conversation_ends_where_sampling_would(chatty):
    pair = PreferenceRow("", "warm", "cold", messages=TALK.messages[:1])
    [row] = encode_answers([pair], chatty, 64, "x")
    asked = encode_prompts([PromptRow("", {}, TALK.messages[:1])], chatty, 64, "x")[0]
    for side in (row.chosen, row.rejected):
        assert side.token_ids[: len(asked)] == asked
        assert side.token_ids[-1] == chatty.eos_token_id
        assert side.loss_mask == tuple(i >= len(asked) for i in range(len(side.token_ids)))
    [scored] = encode_preferences([pair], chatty, 64)
    assert (scored.chosen, scored.rejected) == (row.chosen.token_ids, row.rejected.token_ids)


def test_turns_of_weight_0_are_read_and_not_learnt(chatty):
    turns = (*TALK.messages[:1], Message("assistant", "x", learnt=False), *TALK.messages[2:])
    [row] = encode_completions([CompletionRow("", "", turns)], chatty, 64)
    learnt = [t for t, m in zip(row.token_ids, row.loss_mask, strict=True) if m]
    assert "cold" in chatty.decode(learnt) and "x" not in chatty.decode(learnt)
