"""OpenAI's fine-tuning requests as this service's jobs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.openai.mapping import Dataset, num_shares, param_of, to_spec
from api.openai.request import EXAMPLES, CreateJob
from rlhf_service.errors import SpecError
from rlhf_service.spec import DpoStage, FolderModel, PpoStage, SftStage
from rlhf_service.spec.reward import StringCheckReward

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


@pytest.mark.parametrize(
    ("learner", "shares"),
    [({"num_workers": 4, "min_workers": 2}, 12), ({"num_workers": 4, "min_workers": 9}, 1)],
)
def test_a_batch_of_ours_divides_over_every_number_of_ranks(learner, shares) -> None:
    assert num_shares({"learner": learner}) == shares
    assert num_shares({"learner": "none"}) == num_shares({}) == 1


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


@given(context=st.integers(8, 5000))
def test_lengths_that_are_ours_fit_the_model(context: int) -> None:
    [stage] = to_spec(request(), MODEL, ROWS, None, context).spec.stages
    assert isinstance(stage, SftStage) and stage.max_length == min(256, context)
    [stage] = to_spec(request(method=reinforcement()), MODEL, ROWS, None, context).spec.stages
    assert isinstance(stage, PpoStage)
    both = stage.max_prompt_length, stage.sampling.max_new_tokens
    assert sum(both) == min(192, context) and min(both) >= 1
