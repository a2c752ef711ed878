"""The reward preflight: what can be gamed is said before anything is trained on it."""

from __future__ import annotations

import pytest

from rlhf_service.errors import RewardFailed
from rlhf_service.events import PreflightCompleted, StepCompleted
from rlhf_service.preflight import preflight
from rlhf_service.records import FinishReason, Prompt, Rollout, ScoreFailure
from rlhf_service.reports import deterministic_part
from rlhf_service.spec import JobSpec
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.testing import FunctionReward

REFERENCES = ["a red fox", "the blue whale sings", "one owl", "two small brown dogs"]


def sampled(texts, samples=2):
    return [
        Rollout(
            prompt=Prompt(
                position=position,
                sample=sample,
                row=position,
                text=f"animal {position}",
                token_ids=(1,),
                item={"prompt": f"animal {position}", "reference": REFERENCES[position]},
            ),
            token_ids=(2, 3),
            logprobs=(0.0, 0.0),
            text=texts[(position * samples + sample) % len(texts)],
            finish_reason=FinishReason.EOS,
            policy_version=1,
        )
        for position in range(4)
        for sample in range(samples)
    ]


def look(value, texts=("red fox", "whale", "owl", "dogs", "", "a b"), samples=2):
    encode = lambda text: (*range(len(text.split())), 0)  # noqa: E731
    return preflight("ppo", sampled(texts, samples), FunctionReward(value), ["reference"], encode)


def overlap(rollout):
    words, wanted = set(rollout.text.split()), set(rollout.prompt.item["reference"].split())
    return len(words & wanted) / len(words | wanted)


def test_a_reward_that_compares_with_the_right_answer_is_not_warned_of():
    found = look(overlap)
    assert found.warnings == () and found.n == 8 and found.failures == {}
    assert found.trivial["empty"] == 0 and found.trivial["the prompt back"] == 0
    assert found.trivial["another row's reference"] < 0.3
    assert len(found.quartiles) == 3 and found.scores_per_second > 0


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (lambda r: len(r.text), ["the longest reference", "one word repeated"]),
        (lambda r: -len(r.text), ["empty"]),
        (lambda r: 10 * r.text.startswith("animal") + len(r.text) / 100, ["the prompt back"]),
    ],
)
def test_a_reward_that_can_be_gamed_is_named_with_the_answer(value, names):
    texts = ("x y", "x yy", "x yyy")
    said = look(value, texts).warnings
    for name in names:
        assert any(f"'{name}'" in warning for warning in said), (name, said)


def test_a_constant_reward_and_equal_groups_are_warned_of():
    assert look(lambda r: 0.5).warnings == (
        "every response scores 0.5: there is nothing to learn from",
    )
    found = look(lambda r: r.prompt.position)
    assert found.equal_groups == 1 and "100% of the prompts" in found.warnings[-1]
    assert look(lambda r: r.prompt.position, samples=1).equal_groups is None


def test_failures_are_counted_by_kind_and_never_scored_zero():
    class Flaky:
        def score(self, rollouts):
            good = FunctionReward(lambda r: 1.0 + len(r.text)).score(rollouts)
            bad = ScoreFailure(kind="timeout", message="late")
            return [bad if i % 4 == 0 else outcome for i, outcome in enumerate(good)]

    found = preflight("ppo", sampled(["x", "yy"]), Flaky(), ["reference"], lambda text: (0,))
    assert found.failures == {"timeout": 2} and found.mean > 1
    assert found.warnings[0] == "2 of 8 responses could not be scored (timeout 2); the first: late"


def changed(spec, **preflight_):
    plain = spec.model_dump(mode="json", exclude_unset=True)
    plain["stages"][-1]["preflight"] = preflight_
    return JobSpec.model_validate(plain)


def ppo_numbers(context):
    found = [e for e in context.sink.events if isinstance(e, StepCompleted)]
    return [deterministic_part(e.report) for e in found]


def test_it_changes_no_number_of_the_training(pipeline_spec, make_context, tmp_path):
    contexts = []
    for name, enabled in (("with", True), ("without", False)):
        context = make_context(changed(pipeline_spec, enabled=enabled), tmp_path / name)
        run_pipeline(context)
        looked = [e for e in context.sink.events if isinstance(e, PreflightCompleted)]
        assert len(looked) == enabled
        contexts.append(context)
    assert ppo_numbers(contexts[0]) == ppo_numbers(contexts[1])


def test_it_can_refuse_before_the_first_step(pipeline_spec, make_context, tmp_path):
    reward = FunctionReward(lambda r: 0.0)
    context = make_context(changed(pipeline_spec, on_warning="refuse"), tmp_path / "job", reward)
    with pytest.raises(RewardFailed, match="there is nothing to learn from; mend the reward"):
        run_pipeline(context)
    assert not [e for e in context.sink.events if isinstance(e, StepCompleted) and e.stage == "ppo"]
