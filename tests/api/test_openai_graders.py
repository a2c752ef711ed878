"""`client.fine_tuning.alpha.graders` of the openai package against this service."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.served import served

CHECK = {
    "type": "string_check",
    "name": "right",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}
NEAR = {
    "type": "text_similarity",
    "name": "near",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}


@pytest.fixture(scope="module")
def graders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    settings = make_settings(tmp_path_factory.mktemp("here"), "")
    with served(settings, FakeLauncher()) as made:
        yield made.openai().fine_tuning.alpha.graders


@pytest.mark.parametrize(
    ("grader", "sample", "reward"),
    [
        (CHECK, "4", 1.0),
        (CHECK, "5", 0.0),
        # Normalised indel similarity of "45" and "4": 1 − 1/3.
        (NEAR, "45", 2 / 3),
        (NEAR | {"evaluation_metric": "rouge_1"}, "4", 1.0),
        ({"type": "f1", "answers": "answer"}, "4 4", 2 / 3),
    ],
)
def test_a_sample_is_scored(
    graders: Any, grader: dict[str, Any], sample: str, reward: float
) -> None:
    run = graders.run(grader=grader, model_sample=sample, extra_body={"item": {"answer": "4"}})
    assert run.reward == pytest.approx(reward)
    assert run.metadata.type == grader["type"]
    assert run.metadata.execution_time >= 0
    assert run.metadata.errors.python_grader_runtime_error_details is None
    assert not any(value for value in run.metadata.errors.model_dump().values())


def test_a_multi_tells_its_parts(graders: Any) -> None:
    multi = {
        "type": "multi",
        "name": "both",
        "graders": {"right": CHECK, "near": NEAR},
        "calculate_output": "right + 3 * near",
    }
    run = graders.run(grader=multi, model_sample="45", item={"answer": "4"})
    assert run.reward == pytest.approx(2.0)
    assert run.sub_rewards == {"right": 0.0, "near": pytest.approx(2 / 3)}
    assert run.metadata.name == "both"


def test_what_goes_wrong_is_told_in_the_answer(graders: Any) -> None:
    run = graders.run(grader=CHECK, model_sample="4", item={"question": "2+2="})
    assert run.metadata.errors.invalid_variable_error is True
    assert "answer" in run.metadata.errors.other_error_details
    multi = {"type": "multi", "name": "m", "graders": {"a": CHECK}, "calculate_output": "1 / a"}
    run = graders.run(grader=multi, model_sample="5", item={"answer": "4"})
    assert run.metadata.errors.formula_parse_error is True


def test_validate_gives_the_grader_back(graders: Any) -> None:
    checked = graders.validate(grader=CHECK)
    assert checked.grader.operation == "eq"
    judge = {
        "type": "score_model",
        "name": "j",
        "model": "m",
        "input": [{"role": "user", "content": "{{sample.output_text}}"}],
    }
    assert graders.validate(grader=judge).grader.model == "m"


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        ({**CHECK, "operation": "near"}, "grader.operation"),
        ({"type": "label_model", "name": "l"}, "grader.model"),
        ({"name": "none"}, "grader"),
    ],
)
def test_a_grader_that_no_job_would_take(graders: Any, grader: dict[str, Any], param: str) -> None:
    for ask in (graders.validate, lambda **g: graders.run(**g, model_sample="4")):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(grader=grader)
        assert caught.value.param == param, caught.value.message


@pytest.mark.parametrize(
    "grader",
    [
        {"type": "regex", "pattern": "(a+)+$"},
        {"type": "length", "target": 3},
        {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return 1.0"},
        {"type": "http", "url": "http://127.0.0.1/"},
        {"type": "reward_model", "model": {"type": "folder", "path": "/x"}},
    ],
)
def test_what_needs_more_than_text_is_not_run_here(graders: Any, grader: dict[str, Any]) -> None:
    graders.validate(grader=grader)
    with pytest.raises(openai.BadRequestError) as caught:
        graders.run(grader=grader, model_sample="a" * 40)
    assert (caught.value.param, caught.value.code) == ("grader.type", "invalid_parameter")


def test_a_text_without_end_is_refused(graders: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        graders.run(grader=CHECK, model_sample="a" * 20_001, item={"answer": "4"})
    assert caught.value.param == "model_sample"


def test_running_a_grader_brings_in_no_torch() -> None:
    code = (
        "from api.openai.graders import to_reward; from api.service.graders import score; import sys;"
        f"print(score(to_reward({NEAR!r}, 'g'), '4', {{'answer': '4'}})[0].value,"
        "[m for m in ('torch', 'transformers', 'ray', 'datasets') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "1.0 []", run.stderr
