"""Rows, order and tokens."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_service.data.check import check_data
from rlhf_service.data.messages import Message
from rlhf_service.data.plan import RowPlan, split_holdout
from rlhf_service.data.rows import (
    CompletionRow,
    PreferenceRow,
    PromptRow,
    TextRow,
    read_completions,
    read_preferences,
    read_prompts,
    read_text,
)
from rlhf_service.data.tokens import encode_completions, encode_prompts, pack_documents
from rlhf_service.errors import DataError
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.prompts import shard
from rlhf_service.spec import DataSpec


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a good film", "a bad film", "dull and cold"] * 4, 300)


BAD_FILES = [
    (read_text, None, "no file"),
    (read_text, "", "has no rows"),
    (read_text, "\n\n", "has no rows"),
    (read_text, "{", "line 1: not JSON"),
    (read_text, "[1]", "must be a JSON object, not list"),
    (read_text, '{"text": "a"}\n{"txt": "b"}', "line 2: no column 'text'; it has ['txt']"),
    (read_text, '{"text": 3}', "must be a string, not int"),
    (read_text, '{"text": ""}', "is empty"),
    (read_completions, '{"prompt": "a"}', "no column 'completion'"),
    (read_completions, '{"messages": []}', "must be a list of"),
    (read_completions, '{"messages": [{"role": "user", "content": "x"}]}', "no assistant turn"),
    (read_preferences, '{"chosen": "a"}', "no column 'rejected'"),
    (read_preferences, '{"chosen": "a", "rejected": "b", "margin": "x"}', "must be a number"),
    (read_prompts, '{"question": "a"}', "no column 'prompt'"),
]


@pytest.mark.parametrize(("read", "content", "says"), BAD_FILES)
def test_a_bad_file_is_refused_with_field_line_and_remedy(tmp_path, read, content, says):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as refused:
        read(DataSpec(path=str(path)), "stages[0].data.path")
    assert says in str(refused.value)
    assert refused.value.field == "stages[0].data.path"


def test_good_rows_are_read_and_limited(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "p", "chosen": "c", "rejected": "r", "margin": 2}\n' * 3)
    spec = DataSpec(path=str(path), limit=2)
    assert read_preferences(spec, "x") == [PreferenceRow("p", "c", "r", 2.0)] * 2
    assert read_prompts(spec, "x")[0].item["chosen"] == "c"


def test_every_data_file_of_a_job_is_checked(pipeline_spec, tmp_path):
    check_data(pipeline_spec)
    broken = json.loads(pipeline_spec.model_dump_json())
    broken["stages"][2]["evaluation"]["prompts"]["path"] = str(tmp_path / "absent.jsonl")
    with pytest.raises(DataError) as refused:
        check_data(type(pipeline_spec).model_validate(broken))
    assert refused.value.field == "stages[2].evaluation.prompts.path"


@given(st.integers(1, 40), st.integers(1, 13), st.integers(0, 5), st.integers(0, 2**31 - 1))
def test_every_row_comes_once_an_epoch_whatever_the_batch(num_rows, batch_size, epoch, seed):
    plan = RowPlan(num_rows, batch_size, seed)
    positions = range(epoch * num_rows, (epoch + 1) * num_rows)
    assert sorted(plan.row(p) for p in positions) == list(range(num_rows))
    steps = [plan.rows(step) for step in range(6)]
    assert steps == [RowPlan(num_rows, batch_size, seed).rows(step) for step in range(6)]
    flat = [row for rows in steps for row in rows]
    assert flat == [plan.row(p) for p in range(6 * batch_size)]


@given(st.integers(1, 60), st.floats(0, 0.99), st.integers(0, 99))
def test_holdout_splits_without_loss(count, share, seed):
    training, held_out = split_holdout(list(range(count)), share, seed)
    assert sorted(training + held_out) == list(range(count))
    assert training and len(held_out) <= share * count


def test_shards_partition_the_batch():
    items = list(range(12))
    assert [i for rank in range(3) for i in shard(items, rank, 3)] == items


def test_only_completion_and_eos_are_targets(tokenizer):
    [row] = encode_completions([CompletionRow("a good", " film")], tokenizer, 32)
    targets = [t for t, m in zip(row.token_ids, row.loss_mask, strict=True) if m]
    assert tokenizer.decode(targets[:-1]) == " film"
    assert targets[-1] == tokenizer.eos_token_id != tokenizer.pad_token_id
    assert (
        tokenizer.decode([t for t, m in zip(row.token_ids, row.loss_mask, strict=True) if not m])
        == "a good"
    )


def test_an_empty_prompt_still_leaves_the_first_token_a_predecessor(tokenizer):
    [row] = encode_completions([CompletionRow("", "film")], tokenizer, 32)
    assert not row.loss_mask[0] and all(row.loss_mask[1:])


def test_chat_learns_assistant_turns_only(tokenizer):
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    talk = (
        Message("user", "good?"),
        Message("assistant", "dull"),
        Message("user", "and?"),
        Message("assistant", "cold"),
    )
    [row] = encode_completions([CompletionRow("", "", talk)], tokenizer, 128)
    learnt = tokenizer.decode([t for t, m in zip(row.token_ids, row.loss_mask, strict=True) if m])
    tokenizer.chat_template = None
    assert learnt == "dull\ncold\n"


def test_packing_fills_blocks_and_loses_less_than_one(tokenizer):
    documents = [TextRow("a good film")] * 10
    blocks = pack_documents(documents, tokenizer, 8, "x")
    each = len(tokenizer.encode("a good film", add_special_tokens=False)) + 1
    assert all(len(b.token_ids) == 8 and b.num_targets == 7 for b in blocks)
    assert 0 <= 10 * each - 8 * len(blocks) < 8
    with pytest.raises(DataError, match="less than one block"):
        pack_documents(documents[:1], tokenizer, 64, "stages[0].data.path")


def test_a_prompt_that_is_too_long_names_its_row(tokenizer):
    rows = [PromptRow("a", {}), PromptRow("a good film " * 9, {})]
    with pytest.raises(DataError, match=r"row 2 has \d+ tokens, more than max_prompt_length 4"):
        encode_prompts(rows, tokenizer, 4, "stages[0].prompts.path")
