"""What a JobSpec refuses, and how it says so."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rlhf_service.explain import explain
from rlhf_service.job import TERMINAL, TRANSITIONS, JobStatus, StopReason, can_move
from rlhf_service.spec import JobSpec


def refuse(spec: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(spec)
    assert says in str(refused.value)


@pytest.fixture
def plain(pipeline_spec) -> dict:
    return pipeline_spec.model_dump(mode="json")


def test_a_spec_survives_json(pipeline_spec):
    assert JobSpec.model_validate_json(pipeline_spec.model_dump_json()) == pipeline_spec


CHANGES = [
    (lambda s: s.update(colour="red"), "Extra inputs are not permitted"),
    (lambda s: s["stages"][0].update(steps="many"), "valid integer"),
    (lambda s: s["stages"][0]["optimizer"].update(learning_rate=float("nan")), "finite"),
    (lambda s: s.update(stages=[]), "at least 1 item"),
    (lambda s: s["stages"][2].update(name="sft"), "'sft' is taken"),
    (lambda s: s["stages"][2]["critic"].update(stage="sfx"), "no earlier stage is named 'sfx'"),
    (lambda s: s["stages"][2]["reward"]["model"].update(stage="sft"), "not a reward stage"),
    (
        lambda s: s["stages"][2].update(model={"type": "stage", "stage": "reward"}),
        "generates no text",
    ),
    (lambda s: s.update(model={"type": "stage", "stage": "sft"}), "a stage has not run yet"),
    (
        lambda s: s["resources"]["learner"].update(num_workers=3),
        "not divisible by the 3 learner ranks",
    ),
    (
        lambda s: s["resources"]["learner"].update(num_workers=2, min_workers=3),
        "min_workers: 3 is more than num_workers, 2",
    ),
    (lambda s: s["resources"]["learner"].update(min_workers=0), "greater than or equal to 1"),
    (
        lambda s: s["resources"]["learner"].update(num_workers=4, min_workers=2),
        "8 is not divisible by every number of learner ranks from resources.learner.min_workers, 2, "
        "to num_workers, 4; use a multiple of 12",
    ),
    (
        lambda s: s["resources"]["learner"].update(num_workers=10**9, min_workers=1),
        "or raise min_workers",
    ),
    (lambda s: s["stages"][2]["ppo"].update(minibatches=99), "only 4 responses"),
    (lambda s: s["stages"][2]["ppo"]["kl"].update(placement="loss"), "zero expected gradient"),
    (
        lambda s: s["stages"][2].update(reward={"type": "regex", "pattern": "("}),
        "not a regular expression",
    ),
    (lambda s: s["model"].update(num_heads=3), "not divisible by num_heads"),
    (lambda s: s["stages"][2].update(max_staleness=9), "less than or equal to 8"),
]


@pytest.mark.parametrize(("change", "says"), CHANGES)
def test_a_contradiction_is_refused_by_name(plain, change, says):
    change(plain)
    refuse(plain, says)


def test_every_field_has_a_sentence():
    def walk(schema):
        for name, definition in schema.get("$defs", {}).items():
            for field, detail in definition.get("properties", {}).items():
                if field != "type":
                    assert detail.get("description"), f"{name}.{field}"

    walk(JobSpec.model_json_schema())


def test_terminal_states_never_change_and_every_reason_has_a_status():
    assert all(not TRANSITIONS[status] for status in TERMINAL)
    assert set(TRANSITIONS) == set(JobStatus)
    pauses = {reason for reason in StopReason if reason.to_status() is JobStatus.PAUSED}
    assert pauses == {StopReason.UNHEALTHY_PAUSED}
    assert all(reason.to_status() in TERMINAL for reason in set(StopReason) - pauses)
    assert not can_move(JobStatus.SUCCEEDED, JobStatus.RUNNING)


def test_every_living_status_can_end():
    for status in set(JobStatus) - TERMINAL:
        reached, frontier = {status}, [status]
        while frontier:
            for after in TRANSITIONS[frontier.pop()]:
                if after not in reached:
                    reached.add(after)
                    frontier.append(after)
        assert reached & TERMINAL == TERMINAL or status is JobStatus.CANCELLING


@pytest.mark.parametrize(
    "given, field, says",
    [
        ({"name": "x", "stages": {"0": {}}}, "stages", "must be a list"),
        ({"name": "x", "stages": []}, "stages", "needs at least 1 of them"),
        ({"name": "x", "learner": 3}, "learner", "must be a section of fields"),
    ],
)
def test_refusals_are_in_a_users_words(given, field, says):
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(given)
    told = [explain(dict(error), given, lambda _: "") for error in refused.value.errors()]
    assert {"field": field, "message": says}.items() <= next(
        t for t in told if t["field"] == field
    ).items()
