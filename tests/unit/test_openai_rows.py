"""Rows of OpenAI's fine-tuning files as this service's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api.openai.mapping import Dataset
from api.openai.rows import Conversion
from api.openai.transcript import Plain, transcript_of
from rlhf_service.errors import DataError


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(dataset: Dataset) -> list[Any]:
    return [json.loads(line) for line in Path(dataset.path).read_text().splitlines()]


TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "2+2="},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "3+3="},
    {"role": "assistant", "content": "6"},
]


def test_rows_in_our_columns_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = {
        "supervised": {"prompt": "a", "completion": "b"},
        "dpo": {"prompt": "a", "chosen": "b", "rejected": "c"},
        "reinforcement": {"prompt": "a", "answer": "b"},
    }
    for method, row in rows.items():
        source = written(tmp_path / f"{method}.jsonl", row)
        assert Conversion(method, Plain()).convert(source, "p") == Dataset(str(source), 1)


def test_a_conversation_teaches_each_of_its_answers(tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", {"messages": TURNS})
    found = Conversion("supervised", Plain()).convert(source, "p")
    assert found.rows == 2
    assert read(found) == [
        {"prompt": "Be short.\n2+2=\n", "completion": "4"},
        {"prompt": "Be short.\n2+2=\n4\n3+3=\n", "completion": "6"},
    ]
    assert Conversion("supervised", Plain()).convert(source, "p") == found


def test_a_turn_without_weight_is_not_learnt(tmp_path: Path) -> None:
    turns = [*TURNS[:2], {**TURNS[2], "weight": 0}, TURNS[3], {**TURNS[4], "weight": 1}]
    source = written(tmp_path / "rows.jsonl", {"messages": turns})
    assert [
        row["completion"] for row in read(Conversion("supervised", Plain()).convert(source, "p"))
    ] == ["6"]


CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.mark.parametrize("own_file", [True, False])
def test_a_chat_template_writes_prompts(tmp_path: Path, own_file: bool) -> None:
    config: dict[str, Any] = {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    template = "{{ bos_token }}" + CHATML
    if own_file:
        (tmp_path / "chat_template.jinja").write_text(template)
    else:
        config["chat_template"] = template
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    transcript = transcript_of(tmp_path)
    row = {"messages": TURNS[:2], "reference_answer": "4"}
    source = written(tmp_path / "rows.jsonl", row)
    assert read(Conversion("reinforcement", transcript).convert(source, "p")) == [
        {
            "reference_answer": "4",
            "prompt": "<|system|>Be short.<|end|><|user|>2+2=<|end|><|assistant|>",
        }
    ]
    source = written(tmp_path / "chat.jsonl", {"messages": TURNS})
    # The learner itself tells the turns apart by the template.
    assert Conversion("supervised", transcript).convert(source, "p").path == str(source)
    pair = {
        "input": {"messages": TURNS[1:2], "parallel_tool_calls": True},
        "preferred_output": [TURNS[2]],
        "non_preferred_output": [{"role": "assistant", "content": "5"}],
    }
    source = written(tmp_path / "pairs.jsonl", pair)
    assert read(Conversion("dpo", transcript).convert(source, "p")) == [
        {"prompt": "<|user|>2+2=<|end|><|assistant|>", "chosen": "4", "rejected": "5"}
    ]


def test_a_template_cannot_reach_out_of_its_sandbox(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(ValueError, match="refuses"):
        transcript_of(tmp_path).prompt(TURNS[:2])


@pytest.mark.parametrize(
    ("method", "row", "says"),
    [
        ("supervised", {"messages": []}, "must be a list"),
        ("supervised", {"messages": TURNS[:2]}, "no assistant turn"),
        ("supervised", {"messages": [{"role": "tool", "content": "x"}]}, "tool calls"),
        ("supervised", {"messages": TURNS, "tools": [{}]}, "tool calls"),
        ("supervised", {"messages": [{"role": "user", "content": 3}]}, "must be a string"),
        (
            "supervised",
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "text",
        ),
        ("dpo", {"input": "a", "preferred_output": [], "non_preferred_output": []}, "input"),
        (
            "dpo",
            {"input": {"messages": TURNS[:2]}, "preferred_output": TURNS[2:3]},
            "non_preferred_output",
        ),
        ("reinforcement", {"messages": TURNS}, "ends with an assistant turn"),
    ],
)
def test_a_bad_row_is_named_by_its_line(
    tmp_path: Path, method: str, row: dict[str, Any], says: str
) -> None:
    good = {"prompt": "a", "completion": "b", "chosen": "c", "rejected": "d"}
    source = written(tmp_path / "rows.jsonl", good, row)
    with pytest.raises(DataError) as caught:
        Conversion(method, Plain()).convert(source, "training_file")
    assert caught.value.field == "training_file"
    assert "line 2: " in str(caught.value) and says in str(caught.value)
