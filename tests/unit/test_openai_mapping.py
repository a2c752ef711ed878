"""OpenAI's fine-tuning requests, graders and rows as this service's own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.openai.graders import to_reward
from api.openai.mapping import Dataset, param_of, to_spec
from api.openai.request import EXAMPLES, CreateJob
from api.openai.rows import Conversion
from api.openai.transcript import Plain, transcript_of
from rlhf_service.errors import DataError, SpecError
from rlhf_service.spec import DpoStage, FolderModel, PpoStage, SftStage
from rlhf_service.spec.judges import LabelModelReward, ScoreModelReward
from rlhf_service.spec.reward import MultiReward, StringCheckReward

MODEL = FolderModel(path="/models/m")
ROWS = Dataset("/data/train.jsonl", 100)
HELD_OUT = Dataset("/data/held-out.jsonl", 10)
GRADER = {
    "type": "string_check",
    "name": "right",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}


def request(**changes: Any) -> CreateJob:
    return CreateJob.model_validate({"model": "m", "training_file": "file-a", **changes})


def reinforcement(**changes: Any) -> dict[str, Any]:
    section = {"grader": GRADER, "hyperparameters": changes}
    return {"type": "reinforcement", "reinforcement": section}


def test_supervised_is_the_default_and_auto_is_decided() -> None:
    mapped = to_spec(request(suffix="sums", seed=7, metadata={"team": "a"}), MODEL, ROWS, None)
    [stage] = mapped.spec.stages
    assert isinstance(stage, SftStage)
    assert (mapped.spec.name, mapped.spec.seed, mapped.spec.labels) == ("sums", 7, {"team": "a"})
    assert stage.data.path == ROWS.path
    assert (stage.batch_size, stage.steps, stage.holdout) == (32, math.ceil(300 / 32), 0.0)
    assert mapped.method == {
        "type": "supervised",
        "supervised": {
            "hyperparameters": {"batch_size": 32, "n_epochs": 3, "learning_rate_multiplier": 1.0}
        },
    }


@given(
    rows=st.integers(1, 10_000),
    ranks=st.integers(1, 9),
    epochs=st.integers(1, 50),
    batch=st.none() | st.integers(1, 40),
)
def test_every_row_is_seen_epochs_times(
    rows: int, ranks: int, epochs: int, batch: int | None
) -> None:
    size = "auto" if batch is None else batch * ranks
    asked = {"n_epochs": epochs, "batch_size": size}
    mapped = to_spec(
        request(
            method={"type": "supervised", "supervised": {"hyperparameters": asked}},
            rlhf={"resources": {"learner": {"num_workers": ranks}}},
        ),
        MODEL,
        Dataset("/data/x", rows),
        None,
    )
    [stage] = mapped.spec.stages
    assert isinstance(stage, SftStage)
    assert stage.batch_size % ranks == 0
    assert epochs * rows <= stage.steps * stage.batch_size < epochs * rows + stage.batch_size


def test_the_older_place_of_hyperparameters() -> None:
    mapped = to_spec(
        request(hyperparameters={"n_epochs": 2, "learning_rate_multiplier": 0.5}),
        MODEL,
        ROWS,
        HELD_OUT,
    )
    [stage] = mapped.spec.stages
    assert isinstance(stage, SftStage)
    assert stage.optimizer.learning_rate == pytest.approx(0.5 * 1e-4)
    assert stage.validation is not None and stage.validation.path == HELD_OUT.path


def test_dpo() -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "batch_size": 10}}}
    [stage] = to_spec(request(method=method), MODEL, ROWS, None).spec.stages
    assert isinstance(stage, DpoStage)
    assert (stage.beta, stage.steps) == (0.3, 10)


def test_reinforcement_is_grpo_unless_told() -> None:
    asked = reinforcement(
        batch_size=20, n_epochs=2, compute_multiplier=2.0, eval_interval=5, eval_samples=3
    )
    [stage] = to_spec(request(method=asked), MODEL, ROWS, HELD_OUT).spec.stages
    assert isinstance(stage, PpoStage)
    assert (stage.type, stage.steps, stage.prompts_per_step) == ("grpo", 10, 20)
    assert stage.samples_per_prompt == 8
    assert isinstance(stage.reward, StringCheckReward)
    assert stage.evaluation is not None
    assert (stage.evaluation.every, stage.evaluation.samples_per_prompt) == (5, 3)
    assert stage.evaluation.num_prompts == 10
    settings = {"stage": {"type": "ppo", "ppo": {"epochs": 2}, "optimizer": {"schedule": "linear"}}}
    [stage] = to_spec(
        request(method=asked, rlhf=settings), MODEL, ROWS, None or HELD_OUT
    ).spec.stages
    assert isinstance(stage, PpoStage)
    assert (stage.type, stage.name, stage.ppo.epochs) == ("ppo", "ppo", 2)
    assert (stage.optimizer.schedule, stage.samples_per_prompt) == ("linear", 2)
    assert stage.optimizer.learning_rate == pytest.approx(1e-5)


def test_our_own_settings_reach_the_job() -> None:
    rlhf = {
        "learner": {"zero_stage": 2},
        "resources": {"learner": {"num_workers": 2}},
        "checkpoint": {"every": 3},
        "recovery": {"max_attempts": 1},
        "stage": {"max_length": 64},
    }
    spec = to_spec(request(rlhf=rlhf), MODEL, ROWS, None).spec
    assert (spec.learner.zero_stage, spec.resources.learner.num_workers) == (2, 2)
    assert (spec.checkpoint.every, spec.recovery.max_attempts) == (3, 1)
    [stage] = spec.stages
    assert isinstance(stage, SftStage) and stage.max_length == 64


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"rlhf": {"stage": {"max_lenght": 3}}}, "rlhf.stage.max_lenght"),
        ({"rlhf": {"stage": {"data": {"path": "/etc/x"}}}}, "rlhf.stage.data"),
        ({"rlhf": {"stage": {"type": "ppo"}}}, "rlhf.stage.type"),
        ({"rlhf": {"learner": {"zero_stage": 4}}}, "rlhf.learner.zero_stage"),
        (
            {"rlhf": {"resources": {"learner": {"num_workers": 0}}}},
            "rlhf.resources.learner.num_workers",
        ),
        (
            {"method": reinforcement(eval_interval=2)},
            "method.reinforcement.hyperparameters.eval_interval",
        ),
        (
            {
                "method": {
                    "type": "reinforcement",
                    "reinforcement": {"grader": {**GRADER, "operation": "near"}},
                }
            },
            "method.reinforcement.grader.operation",
        ),
        (
            {"method": reinforcement(), "rlhf": {"stage": {"reward": {}}}},
            "rlhf.stage.reward",
        ),
        (
            {
                "hyperparameters": {"batch_size": 3},
                "rlhf": {"resources": {"learner": {"num_workers": 2}}},
            },
            "rlhf.stage.batch_size",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(SpecError) as caught:
        to_spec(request(**changes), MODEL, ROWS, None)
    assert caught.value.field == param


@pytest.mark.parametrize(
    "changes",
    [
        {"sufix": "a"},
        {"suffix": "x" * 65},
        {"integrations": [{"type": "wandb"}]},
        {"seed": 2**31},
        {"metadata": {str(n): "" for n in range(17)}},
        {"method": {"type": "reinforcement"}},
        {"method": {"type": "dpo", "supervised": {}}},
        {"method": {"type": "supervised"}, "hyperparameters": {}},
        {"method": reinforcement(reasoning_effort="high")},
    ],
)
def test_a_request_that_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**changes)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_documented_examples_map(example: dict[str, Any]) -> None:
    to_spec(CreateJob.model_validate(example), MODEL, ROWS, None)


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ("stages[0].data.path", "training_file"),
        ("stages[0].prompts.path", "training_file"),
        ("stages[0].evaluation.prompts.path", "validation_file"),
        ("stages[0].evaluation.every", "rlhf.stage.evaluation.every"),
        ("stages[0].reward.graders.a.source", "method.reinforcement.grader.graders.a.source"),
        ("stages[0].ppo.kl.coef", "rlhf.stage.ppo.kl.coef"),
        ("stages[0]", "rlhf.stage"),
        ("labels.x", "metadata.x"),
        ("model.path", "model"),
        ("model.num_heads", "rlhf.model.num_heads"),
        ("resources.learner.num_workers", "rlhf.resources.learner.num_workers"),
        (None, None),
    ],
)
def test_fields_of_a_job_by_the_parameter_that_said_them(
    field: str | None, param: str | None
) -> None:
    assert param_of(field) == param


# Graders


@pytest.mark.parametrize("as_list", [True, False])
def test_multi_takes_its_graders_by_name_or_as_a_list(as_list: bool) -> None:
    part = {**GRADER, "name": "right"}
    graders: object = [part] if as_list else {"right": part}
    multi = {"type": "multi", "name": "all", "graders": graders, "calculate_output": "2 * right"}
    reward = to_reward(multi, "grader")
    assert isinstance(reward, MultiReward)
    assert list(reward.graders) == ["right"]


def test_a_judge_s_messages_may_be_in_parts() -> None:
    content = [{"type": "input_text", "text": "Rate: "}, "{{sample.output_text}}"]
    judge = {
        "type": "score_model",
        "name": "j",
        "model": "gpt-x",
        "input": [{"type": "message", "role": "user", "content": content}],
        "sampling_params": None,
    }
    reward = to_reward(judge, "grader")
    assert isinstance(reward, ScoreModelReward)
    assert reward.input[0].content == "Rate: {{sample.output_text}}"


def test_label_graders_are_mapped():
    choice = {
        "type": "label_model",
        "name": "kind",
        "model": "m",
        "input": [{"role": "user", "content": {"type": "input_text", "text": "Kind?"}}],
        "labels": ["a", "b"],
        "passing_labels": ["a"],
    }
    reward = to_reward(choice, "grader")
    assert isinstance(reward, LabelModelReward)
    assert reward.input[0].content == "Kind?" and reward.passing_labels == ("a",)


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        ({"type": "label_model", "model": "m", "input": []}, "g.input"),
        ({}, "g"),
        (
            {
                "type": "text_similarity",
                "evaluation_metric": "cosine",
                "input": "a",
                "reference": "b",
            },
            "g.evaluation_metric",
        ),
        (
            {"type": "python", "source": "def grade(s, i): return 1", "image_tag": "x"},
            "g.image_tag",
        ),
        ({**GRADER, "input": "{{sample.output_json.a}}"}, "g.input"),
        (
            {"type": "multi", "graders": [GRADER, GRADER], "calculate_output": "1"},
            "g.graders[1].name",
        ),
        ({"type": "multi", "graders": {"a": 3}, "calculate_output": "1"}, "g.graders.a"),
        (
            {"type": "multi", "graders": {"a": GRADER}, "calculate_output": "b"},
            "g.calculate_output",
        ),
        (
            {
                "type": "multi",
                "graders": {"a": {**GRADER, "operation": 1}},
                "calculate_output": "a",
            },
            "g.graders.a.operation",
        ),
        (
            {
                "type": "score_model",
                "model": "m",
                "input": [{"role": "user", "content": [{"type": "input_image"}]}],
            },
            "g.input[0].content",
        ),
    ],
)
def test_a_grader_that_is_not_served(grader: dict[str, Any], param: str) -> None:
    with pytest.raises(SpecError) as caught:
        to_reward(grader, "g")
    assert caught.value.field == param


# Rows


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


@given(context=st.integers(8, 5000))
def test_lengths_that_are_ours_fit_the_model(context: int) -> None:
    [stage] = to_spec(request(), MODEL, ROWS, None, context).spec.stages
    assert isinstance(stage, SftStage) and stage.max_length == min(256, context)
    [stage] = to_spec(request(method=reinforcement()), MODEL, ROWS, None, context).spec.stages
    assert isinstance(stage, PpoStage)
    both = stage.max_prompt_length, stage.sampling.max_new_tokens
    assert sum(both) == min(192, context) and min(both) >= 1
