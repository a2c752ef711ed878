"""Which responses a step learns from, and what moves from step to step."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from rlhf_service.annealing import on_ramp
from rlhf_service.clock import PhaseClock
from rlhf_service.data.plan import RowPlan
from rlhf_service.data.rows import PromptRow
from rlhf_service.drawing import Respondent, decode_tail, draw, teaches
from rlhf_service.events import EvaluationCompleted, Log, StepCompleted
from rlhf_service.learner.group import SoloGroup
from rlhf_service.ledger import PromptLedger
from rlhf_service.prompts import PromptSource
from rlhf_service.records import FinishReason, Prompt, Rollout, ScoreFailure
from rlhf_service.reports import deterministic_part
from rlhf_service.spec import JobSpec, PpoStage, SamplingSpec
from rlhf_service.spec.annealing import Ramp
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.testing import FunctionReward
from tests.small import stopped_and_resumed

ROWS = 12


def test_the_tail_begins_when_three_of_four_have_ended():
    def ended(*seconds):
        [rollout] = EchoEngine().generate(
            [Prompt(position=0, sample=0, row=0, text="", token_ids=(1,))], None, version=1, seed=0
        )
        return [replace(rollout, seconds=s) for s in seconds]

    assert decode_tail(ended(4.0, 1.0, 2.0, 9.0)) == 5.0
    assert decode_tail(ended(1.0, 2.0, 3.0)) == 0.0
    assert decode_tail(ended(3.0)) == 0.0
    assert decode_tail(ended(0.0, 0.0)) == 0.0  # of an engine that does not say
    assert decode_tail([]) == 0.0


class EchoEngine:
    """Answers every prompt with its own token."""

    def generate(self, prompts, sampling, *, version, seed):
        return [
            Rollout(
                prompt=prompt,
                token_ids=prompt.token_ids,
                logprobs=(0.0,),
                text=prompt.text,
                finish_reason=FinishReason.EOS,
                policy_version=version,
            )
            for prompt in prompts
        ]


class PairGroup:
    """Gathers over two threads."""

    size = 2

    def __init__(self, rank, barrier, board):
        self.rank, self._barrier, self._board = rank, barrier, board

    def gather(self, value):
        self._board[self.rank] = value
        self._barrier.wait(10)
        found = [self._board[0], self._board[1]]
        self._barrier.wait(10)
        return found


def respondent(equal_rows, samples=2):
    """Rows in `equal_rows` score the same whatever the sample."""
    rows = [PromptRow(prompt=str(i), item={}) for i in range(ROWS)]
    source = PromptSource(rows, [(i,) for i in range(ROWS)], RowPlan(ROWS, 4, 0))
    reward = FunctionReward(lambda r: 0.0 if r.prompt.row in equal_rows else r.prompt.sample)
    return Respondent(
        prompts=source,
        samples_per_prompt=samples,
        engine=EchoEngine(),
        reward=reward,
        sampling=SamplingSpec(),
        version=1,
        seed=0,
        clock=PhaseClock(),
    )


@given(st.sets(st.integers(0, ROWS - 1)), st.integers(1, 4))
def test_a_draw_is_full_prefers_what_teaches_and_takes_the_plan_in_order(equal, rounds):
    found = draw(respondent(equal), PromptLedger(), 4, rounds, SoloGroup())
    assert len(found.kept) == 4
    assert found.positions == list(range(len(found.positions)))
    assert found.passed_over == len(found.drawn) - 4
    useful = sum(map(teaches, found.drawn))
    if rounds == 1:
        assert found.positions == [0, 1, 2, 3]
    else:
        assert sum(map(teaches, found.kept)) == min(4, useful)
        assert useful == 4 or len(equal) >= ROWS - 4 or rounds > 1
    settled = found.ledger.settle(found.positions)
    assert settled.cursor == len(found.positions)


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(0, ROWS - 1)), st.integers(1, 4))
def test_two_ranks_share_the_wanting_prompts_and_keep_the_same_number(equal, rounds):
    barrier, board, found = threading.Barrier(2), {}, {}

    def run(rank):
        group = PairGroup(rank, barrier, board)
        found[rank] = draw(respondent(equal), PromptLedger(), 4, rounds, group)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    one, two = found[0], found[1]
    assert len(one.kept) == len(two.kept) == 2
    assert one.ledger == two.ledger and one.positions == two.positions
    assert one.passed_over == two.passed_over == len(one.drawn) + len(two.drawn) - 4
    answered = [a[0][0].prompt.position for a in one.drawn + two.drawn]
    assert sorted(answered) == one.positions, "each leased prompt is answered by one rank"


def test_a_failure_is_not_a_different_score():
    [pair] = respondent(set()).answer([0])
    (first, score), (second, _) = pair
    failed = ScoreFailure(kind="timeout", message="late")
    assert teaches(pair)
    assert not teaches([(first, score), (second, failed)])
    assert not teaches([(first, failed), (second, failed)])


@pytest.mark.parametrize(
    ("ramp", "values"),
    [
        (None, [1.0, 1.0, 1.0, 1.0, 1.0]),
        (Ramp(to=0.5), [1.0, 0.875, 0.75, 0.625, 0.5]),
        (Ramp(to=2.0, steps=3), [1.0, 1.5, 2.0, 2.0, 2.0]),
        (Ramp(to=0.0, steps=1), [0.0] * 5),
    ],
)
def test_a_ramp_is_a_straight_line(ramp, values):
    assert [on_ramp(ramp, 1.0, step, 5) for step in range(5)] == pytest.approx(values)


def changed(spec, method="ppo", **settings_):
    plain = spec.model_dump(mode="json", exclude_unset=True)
    stage = plain["stages"][-1]
    if method != "ppo":
        stage.pop("critic")
        stage.pop("critic_optimizer")
    stage.update(settings_, type=method)
    return JobSpec.model_validate(plain)


def reports(context):
    found = [e for e in context.sink.events if isinstance(e, StepCompleted)]
    return {(e.stage, e.step): deterministic_part(e.report) for e in found}


def test_temperature_and_entropy_move_and_the_sampler_agrees(pipeline_spec, make_context, tmp_path):
    annealing = {"temperature": {"to": 0.5}, "entropy_coef": {"to": 0.1}}
    context = make_context(changed(pipeline_spec, annealing=annealing), tmp_path / "job")
    run_pipeline(context)
    found = [r for (stage, _), r in reports(context).items() if stage == "ppo"]
    assert [r["temperature"] for r in found] == [1.0, 0.75, 0.5]
    assert max(r["sampler_difference_max"] for r in found) < 1e-4

    still = make_context(changed(pipeline_spec), tmp_path / "still")
    run_pipeline(still)
    plain = [r for (stage, _), r in reports(still).items() if stage == "ppo"]
    assert found[0]["policy_loss"] == plain[0]["policy_loss"], "the ramp starts at the setting"
    assert found[1]["policy_loss"] != plain[1]["policy_loss"]


def test_dynamic_sampling_resumes_to_the_same_numbers(pipeline_spec, make_context, tmp_path):
    spec = changed(
        pipeline_spec, "grpo", samples_per_prompt=2, dynamic_sampling={"rounds": 2}, name="ppo"
    )
    reward = FunctionReward(lambda r: float(r.prompt.position % 2 and r.prompt.sample))
    whole = make_context(spec, tmp_path / "whole", reward)
    run_pipeline(whole)
    found = [r for (stage, _), r in reports(whole).items() if stage == "ppo"]
    assert all(r["groups_passed_over"] == 2 for r in found), "every other prompt is equal"
    # Four prompts want two more; of those again every other one teaches: one equal group fills.
    assert all(r["equal_groups_fraction"] == 0.25 for r in found)

    halted, resumed = stopped_and_resumed(
        make_context, spec, tmp_path / "halted", ("ppo", 1), reward=reward
    )
    assert reports(halted) | reports(resumed) == reports(whole)


def test_a_kl_budget_ends_the_stage_with_its_policy(pipeline_spec, make_context, tmp_path):
    optimizer = {"learning_rate": 3e-2}
    spec = changed(pipeline_spec, steps=9, optimizer=optimizer, ppo={"kl_budget": 1e-2})
    context = make_context(spec, tmp_path / "job")
    run_pipeline(context)
    kl = [r["kl"] for (stage, _), r in reports(context).items() if stage == "ppo"]
    assert 1 < len(kl) < 9
    assert kl[-1] > 1e-2 >= max(kl[:-1])
    assert any(
        isinstance(e, Log) and "over ppo.kl_budget 0.01" in e.message for e in context.sink.events
    )
    evaluations = [e.step for e in context.sink.events if isinstance(e, EvaluationCompleted)]
    assert evaluations == [0, len(kl)]
    AutoModelForCausalLM.from_pretrained(context.folder.model)

    (context.folder.stage("ppo") / "done.json").unlink()
    again = make_context(spec, tmp_path / "job")
    run_pipeline(again)
    assert not reports(again), "a stage that is over stays over"


def test_dynamic_sampling_needs_groups():
    with pytest.raises(ValueError, match="samples_per_prompt is 1; use 2 or more"):
        PpoStage.model_validate(
            {
                "type": "ppo",
                "prompts": {"path": "/p"},
                "reward": {"type": "length", "target": 3},
                "dynamic_sampling": {},
            }
        )
