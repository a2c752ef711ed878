"""Failures of a reward: never a score of 0, dealt with by kind, kept as evidence."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rlhf_service.errors import RewardFailed
from rlhf_service.events import PromptQuarantined, StepCompleted
from rlhf_service.records import FinishReason, Prompt, Rollout, Score, ScoreFailure
from rlhf_service.reward.build import build_reward
from rlhf_service.reward.policy import Policed
from rlhf_service.reward.quarantine import Evidence, keep, read, rescore
from rlhf_service.spec import JobSpec
from rlhf_service.spec.failure import FailurePolicySpec
from rlhf_service.spec.reward import RegexReward
from rlhf_service.stages.pipeline import run_pipeline


def rollout(text, sample=0):
    prompt = Prompt(
        position=3, sample=sample, row=1, text="q", token_ids=(1,), item={"prompt": "q"}
    )
    return Rollout(
        prompt=prompt,
        token_ids=(5, 6),
        logprobs=(-0.5, -0.25),
        text=text,
        finish_reason=FinishReason.LENGTH,
        policy_version=2,
    )


class Script:
    """Answers `ok` at once, `kind:n` with a failure of that kind n times, then a score."""

    def __init__(self):
        self.asked = []
        self._left = {}

    def score(self, rollouts):
        self.asked.append([r.text for r in rollouts])
        return [self._one(r.text) for r in rollouts]

    def _one(self, text):
        kind, _, times = text.partition(":")
        left = self._left.setdefault(text, int(times or 0))
        if left == 0:
            return Score(value=1.0)
        self._left[text] = left - 1
        return ScoreFailure(kind=kind, message=text)


def police(texts, **spec):
    script, pauses = Script(), []
    policed = Policed(script, FailurePolicySpec.model_validate(spec), pauses.append)
    return policed.score([rollout(text) for text in texts]), script.asked, pauses


def test_dropped_by_default():
    outcomes, asked, _ = police(["ok", "timeout:9"])
    assert outcomes[0] == Score(value=1.0) and isinstance(outcomes[1], ScoreFailure)
    assert len(asked) == 1


def test_only_what_failed_is_retried_with_growing_pauses():
    retry = {"type": "retry", "times": 3, "pause": 0.5}
    outcomes, asked, pauses = police(
        ["ok", "timeout:2", "raised:1", "timeout:9"], kinds={"timeout": retry}
    )
    assert asked[1:] == [["timeout:2", "timeout:9"], ["timeout:2", "timeout:9"], ["timeout:9"]]
    assert pauses == [0.5, 1.0, 2.0]
    assert [type(o) for o in outcomes] == [Score, Score, ScoreFailure, ScoreFailure]


def test_a_penalty_is_marked_and_only_for_its_kind():
    penalty = {"type": "penalty", "score": -2.0}
    outcomes, _, _ = police(["raised:1", "timeout:1"], kinds={"raised": penalty})
    assert outcomes[0] == Score(value=-2.0, components={"failed": 1.0})
    assert isinstance(outcomes[1], ScoreFailure)


def test_a_fatal_kind_ends_the_job_by_name():
    with pytest.raises(RewardFailed, match="timeout: timeout:1; on_failure says"):
        police(["ok", "timeout:1"], default={"type": "fail"})


def test_an_action_that_is_none_is_refused():
    with pytest.raises(ValidationError, match="kinds"):
        FailurePolicySpec.model_validate({"kinds": {"timeout": {"type": "ignore"}}})


def test_evidence_is_bounded_and_can_be_scored_again(tmp_path):
    path = tmp_path / "job" / "quarantine.jsonl"
    failure = ScoreFailure(kind="timeout", message="late")
    reward = RegexReward(pattern="film")
    made = [
        Evidence.of("ppo", 4, reward, rollout("a film", sample), failure) for sample in range(3)
    ]
    keep(path, made[:2], most=4)
    keep(path, made, most=4)
    keep(path, made, most=4)
    with path.open("a") as out:
        out.write('{"stage": "pp')
    found = list(read(path))
    assert found == [made[0], made[1], made[0], made[1]]
    assert found[1].rollout() == rollout("a film", 1)
    assert rescore(found[0], build_reward(found[0].reward, {})) == Score(
        value=1.0, components={"regex": 1.0}
    )


def test_a_job_keeps_what_it_set_aside(pipeline_spec, make_context, tmp_path):
    class Partly:
        def score(self, rollouts):
            bad = ScoreFailure(kind="timeout", message="late")
            return [bad if r.prompt.position % 4 == 1 else Score(value=1.0) for r in rollouts]

    plain = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    plain["stages"][-1]["evaluation"] = None
    plain["stages"][-1]["on_failure"] = {"evidence": 2}
    context = make_context(JobSpec.model_validate(plain), tmp_path / "job", Partly())
    run_pipeline(context)
    events = context.sink.events
    assert len([e for e in events if isinstance(e, PromptQuarantined)]) == 3
    reports = [e.report for e in events if isinstance(e, StepCompleted) and e.stage == "ppo"]
    assert [r.quarantined for r in reports] == [1, 1, 1]
    kept = list(read(context.folder.quarantine))
    assert [(e.step, e.kind, e.position) for e in kept] == [(1, "timeout", 1), (2, "timeout", 5)]
