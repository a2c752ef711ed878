"""OpenAI's graders as this service's rewards."""

from __future__ import annotations

from typing import Any

import pytest

from api.openai.graders import to_reward
from rlhf_service.errors import SpecError
from rlhf_service.spec.judges import LabelModelReward, ScoreModelReward
from rlhf_service.spec.reward import MultiReward
from tests.unit.test_openai_mapping import GRADER


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
