"""Data files of any content: rows, or a DataError, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlhf_service.data.messages import Message
from rlhf_service.data.rows import read_completions, read_preferences, read_prompts, read_text
from rlhf_service.errors import DataError
from rlhf_service.spec import DataSpec

READERS = (read_text, read_completions, read_preferences, read_prompts)
COLUMNS = (
    *("text", "prompt", "completion", "messages", "chosen", "rejected", "margin", "role"),
    *("input", "preferred_output", "non_preferred_output"),
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*COLUMNS, "content"]), inner, max_size=3)
    ),
    max_leaves=6,
)
rows = st.dictionaries(st.sampled_from(COLUMNS), values, max_size=5).map(json.dumps)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(rows | st.text() | st.binary(max_size=20), max_size=4))
def test_any_file_is_read_or_refused_with_its_field(tmp_path, lines):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b"\n".join(
            line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")
            for line in lines
        )
    )
    for read in READERS:
        try:
            found = read(DataSpec(path=str(path)), "stages[0].data.path")
        except DataError as refused:
            assert refused.field == "stages[0].data.path"
            assert str(path) in refused.message
        else:
            assert found


BAD_ROWS = [
    ('{"chosen": "a", "rejected": "b", "margin": NaN}', "'margin' must be finite"),
    ('{"chosen": "a", "rejected": "b", "margin": 1e999}', "'margin' must be finite"),
    (f'{{"chosen": "a", "rejected": "b", "margin": 1{"0" * 400}}}', "'margin' must be finite"),
    ('{"chosen": "\\ud800", "rejected": "b"}', "surrogate pair"),
    ("[" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(("line", "says"), BAD_ROWS)
def test_a_row_that_json_takes_but_training_cannot_is_refused(tmp_path, line, says):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"chosen": "a", "rejected": "b"}\n' + line)
    with pytest.raises(DataError, match=f"line 2: .*{says}"):
        read_preferences(DataSpec(path=str(path)), "x")


def test_a_byte_order_mark_and_blank_lines_are_no_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "\xc3\xa9"}')
    assert [row.text for row in read_text(DataSpec(path=str(path)), "x")] == ["a", "é"]


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}')

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\); let"):
        read_text(DataSpec(path=str(path)), "x")


ASKED = '[{"role": "user", "content": "good?"}]'
YES = '[{"role": "assistant", "content": "yes"}]'
NO = YES.replace("yes", "no")
WHOLE = '[{"role": "user", "content": "good?"}, {"role": "assistant", "content": "%s"}]'
PAIRS_OF_TURNS = [
    f'{{"prompt": {ASKED}, "chosen": {YES}, "rejected": {NO}}}',
    f'{{"prompt": {ASKED}, "chosen": "yes", "rejected": "no"}}',
    f'{{"chosen": {WHOLE % "yes"}, "rejected": {WHOLE % "no"}}}',
    f'{{"input": {{"messages": {ASKED}, "tools": []}}, "preferred_output": {YES}, '
    f'"non_preferred_output": {NO}}}',
]


@pytest.mark.parametrize("line", PAIRS_OF_TURNS)
def test_pairs_of_turns_are_read_in_every_shape(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(line)
    [row] = read_preferences(DataSpec(path=str(path)), "x")
    assert row.messages == (Message("user", "good?"),)
    assert (row.prompt, row.chosen, row.rejected) == ("", "yes", "no")


def test_prompts_may_be_conversations(tmp_path):
    path = tmp_path / "rows.jsonl"
    talk = '[{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]'
    parts = '[{"role": "user", "content": [{"type": "text", "text": "a"}]}]'
    path.write_text(
        f'{{"messages": {talk}, "answer": 4}}\n{{"prompt": {parts}}}\n{{"prompt": "p"}}'
    )
    rows = read_prompts(DataSpec(path=str(path)), "x")
    assert [row.prompt for row in rows] == ["system: s\nuser: q", "a", "p"]
    assert rows[0].messages[1] == Message("user", "q") and rows[0].item["answer"] == 4
    assert rows[2].messages == ()


BAD_TURNS = [
    (read_prompts, f'{{"messages": {WHOLE % "yes"}}}', "ends with the assistant's turn"),
    (read_prompts, '{"messages": "hi"}', "must be a list of"),
    (read_preferences, f'{{"chosen": {YES}, "rejected": {NO}}}', "has only the answer"),
    (read_preferences, f'{{"chosen": {WHOLE % "a"}, "rejected": {NO}}}', "differ before"),
    (read_preferences, f'{{"chosen": {ASKED}, "rejected": {ASKED}}}', "not end with an assistant"),
    (read_preferences, f'{{"prompt": "p", "chosen": {YES}, "rejected": {NO}}}', "make both turns"),
    (read_preferences, f'{{"preferred_output": {YES}, "non_preferred_output": {NO}}}', "'input'"),
    (
        read_preferences,
        f'{{"prompt": {ASKED}, "chosen": {WHOLE % "a"}, "rejected": {WHOLE % "b"}}}',
        "one assistant turn each",
    ),
    (
        read_completions,
        '{"messages": [{"role": "assistant", "content": null, "tool_calls": [1]}]}',
        "calls tools",
    ),
    (
        read_completions,
        '{"messages": [{"role": "assistant", "content": "x", "weight": 0}]}',
        "no assistant turn",
    ),
    (
        read_completions,
        '{"messages": [{"role": "assistant", "content": [{"type": "image_url"}]}]}',
        "text parts only",
    ),
]


@pytest.mark.parametrize(("read", "line", "says"), BAD_TURNS)
def test_bad_turns_are_named_by_line(tmp_path, read, line, says):
    path = tmp_path / "rows.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match=f"line 1: .*{says}"):
        read(DataSpec(path=str(path)), "x")
