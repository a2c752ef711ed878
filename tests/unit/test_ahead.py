"""Batches sampled while earlier ones are learnt: their order, their weights, resuming, and learning."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Executor, Future
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from rlhf_service.ahead import Ahead, OneAtATime, sampled_by
from rlhf_service.algorithms.losses import importance_weights, policy_loss
from rlhf_service.algorithms.rewards import RunningMoments
from rlhf_service.clock import PhaseClock
from rlhf_service.data.plan import RowPlan
from rlhf_service.data.rows import PromptRow
from rlhf_service.drawing import teaches
from rlhf_service.events import StepCompleted
from rlhf_service.learner.group import SoloGroup
from rlhf_service.ledger import PromptLedger
from rlhf_service.ports import KEPT_VERSIONS, WeightSnapshot
from rlhf_service.prompts import PromptSource
from rlhf_service.reports import deterministic_part
from rlhf_service.spec import JobSpec, PpoStage
from rlhf_service.stages import assembly
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.step import PpoRun, PpoState
from rlhf_service.testing import FunctionReward, InProcessChannel
from tests.small import stopped_and_resumed
from tests.unit.test_drawing import EchoEngine, PairGroup

ROWS = 7


class Eager(Executor):
    """Does everything at once: the quickest sampler there can be."""

    def submit(self, fn, /, *args, **kwargs):
        done: Future = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as fault:
            done.set_exception(fault)
        return done


class Late(Executor):
    """Does a thing when somebody waits for it: the slowest sampler there can be."""

    def submit(self, fn, /, *args, **kwargs):
        class Waited(Future):
            def result(self, timeout=None):
                return fn(*args, **kwargs)

        return Waited()


class PullingEcho:
    """Answers with the prompt's own token, after fetching the version that it is asked for."""

    def __init__(self, channel):
        self._channel = channel
        self.asked: list[tuple[int, tuple[int, ...]]] = []

    def generate(self, prompts, sampling, *, version, seed):
        assert self._channel.fetch(version).version == version
        self.asked.append((version, tuple(p.position for p in prompts)))
        return EchoEngine().generate(prompts, sampling, version=version, seed=seed)


def stage_of(steps, lag, rounds=None, prompts_per_step=3):
    raw = {
        "type": "grpo",
        "prompts": {"path": "/p"},
        "reward": {"type": "length", "target": 3},
        "samples_per_prompt": 2,
        "steps": steps,
        "prompts_per_step": prompts_per_step,
        "max_staleness": lag,
    }
    return PpoStage.model_validate(
        raw | ({"dynamic_sampling": {"rounds": rounds}} if rounds else {})
    )


class Drawn:
    """The draws of a stage whose learner is only counted; goes on from any step."""

    def __init__(self, stage, equal_rows, executor, group=None):
        rows = [PromptRow(prompt=str(i), item={}) for i in range(ROWS)]
        self.channel = InProcessChannel(KEPT_VERSIONS + stage.max_staleness)
        self.source = Ahead(stage.max_staleness, executor)
        self.engine = PullingEcho(self.channel)
        reward = FunctionReward(lambda r: 0.0 if r.prompt.row in equal_rows else r.prompt.sample)
        self.run = PpoRun(
            stage=stage,
            seed=0,
            prompts=PromptSource(rows, [(i,) for i in range(ROWS)], RowPlan(ROWS, 3, 0)),
            engine=self.engine,
            reward=reward,
            metrics={},
            learner=None,
            weights=self.channel,
            group=group or SoloGroup(),
            source=self.source,
        )

    def publish(self, version):
        self.channel.publish(WeightSnapshot(version, {}, {}))

    def go(self, state, until):
        """[(state, draw)] of each step; the state is the one that the step found."""
        found = []
        while state.step < until:
            drawn = self.source.draw(self.run, state, PhaseClock())
            found.append((state, drawn))
            ledger = drawn.ledger.settle(drawn.positions)
            state = PpoState(
                state.step + 1, state.policy_version + 1, 0.0, RunningMoments(), ledger
            )
            self.publish(state.policy_version)
        return found, state


START = PpoState(0, 1, 0.0, RunningMoments(), PromptLedger())


def everything(found):
    return [
        [(r.prompt.position, r.prompt.sample, r.policy_version) for r, _ in drawn.judged]
        for _, drawn in found
    ]


settings_of_a_stage = {
    "lag": st.integers(0, 4),
    "steps": st.integers(1, 9),
    "equal": st.sets(st.integers(0, ROWS - 1)),
    "rounds": st.sampled_from([None, 2, 3]),
}


@given(**settings_of_a_stage, executor=st.sampled_from([Eager, Late]))
def test_no_response_is_older_than_the_bound_and_no_prompt_is_left_out(
    lag, steps, equal, rounds, executor
):
    stage = stage_of(steps, lag, rounds)
    drawn = Drawn(stage, equal, executor())
    drawn.publish(1)
    found, end = drawn.go(START, steps)
    for state, one in found:
        ages = {state.policy_version - r.policy_version for r, _ in one.judged}
        assert max(ages) <= lag
        first = {r.policy_version for r, _ in one.judged[: 2 * stage.prompts_per_step]}
        assert first == {max(1, state.policy_version - lag)}
        assert len(one.kept) == stage.prompts_per_step
        useful = min(stage.prompts_per_step, sum(map(teaches, one.drawn)))
        assert not rounds or sum(map(teaches, one.kept)) == useful
    places = Counter(r.prompt.position for _, one in found for r, _ in one.judged)
    assert set(places.values()) == {2} and sorted(places) == list(range(len(places)))
    assert end.ledger.cursor == len(places) and not end.ledger.leased
    assert drawn.source._asked == {}, "nothing is asked for that no step will want"


@given(**settings_of_a_stage, halt=st.integers(0, 9))
def test_nothing_depends_on_who_is_quick_nor_on_a_restart(lag, steps, equal, rounds, halt):
    stage = stage_of(steps, lag, rounds)
    whole = Drawn(stage, equal, Eager())
    whole.publish(1)
    wanted = everything(whole.go(START, steps)[0])

    first = Drawn(stage, equal, Late())
    first.publish(1)
    before, state = first.go(START, min(halt, steps))
    again = Drawn(stage, equal, Eager())
    for version in range(sampled_by(state.policy_version, lag), state.policy_version + 1):
        again.publish(version)
    saved = PpoState.restored(state.saved())
    assert not saved.ledger.leased
    after, _ = again.go(saved, steps)
    assert everything(before) + everything(after) == wanted


@settings(max_examples=20)
@given(
    lag=st.integers(0, 3),
    equal=st.sets(st.integers(0, ROWS - 1)),
    rounds=st.sampled_from([None, 2]),
)
def test_two_ranks_answer_each_prompt_once(lag, equal, rounds):
    stage, barrier, board, found = stage_of(4, lag, rounds, 4), threading.Barrier(2), {}, {}

    def run(rank):
        drawn = Drawn(stage, equal, (Eager, Late)[rank](), PairGroup(rank, barrier, board))
        drawn.publish(1)
        found[rank] = drawn.go(START, 4)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (one, end), (two, other) = found[0], found[1]
    assert end == other
    assert all(len(a.kept) == len(b.kept) == 2 for (_, a), (_, b) in zip(one, two, strict=True))
    answered = sorted(place[:2] for step in everything(one) + everything(two) for place in step)
    assert answered == [(p, sample) for p in range(len(answered) // 2) for sample in (0, 1)]


def test_batches_are_asked_for_as_soon_as_their_weights_are_there():
    drawn = Drawn(stage_of(4, 1), set(), Eager())
    drawn.publish(1)
    _, state = drawn.go(START, 1)
    assert drawn.engine.asked == [(1, (0, 0, 1, 1, 2, 2)), (1, (3, 3, 4, 4, 5, 5))]
    drawn.go(state, 2)
    assert drawn.engine.asked[2:] == [(2, (6, 6, 7, 7, 8, 8))]


def test_a_failure_ahead_is_the_step_s_own():
    drawn = Drawn(stage_of(4, 1), set(), Eager())
    with pytest.raises(Exception, match="version 1 is not published"):
        drawn.go(START, 1)


def test_evaluation_waits_for_what_is_being_sampled():
    """Two threads never ask one engine at a time, nor one reward."""
    inside, most, lock = Counter(), Counter(), threading.Lock()

    class Nosy:
        def _enter(self, what):
            with lock:
                inside[what] += 1
                most[what] = max(most[what], inside[what])
            threading.Event().wait(0.01)  # long enough for another to come in
            with lock:
                inside[what] -= 1
            return []

        def generate(self, prompts, sampling, *, version, seed):
            return self._enter("engine")

        def score(self, rollouts):
            return self._enter("reward")

    shared = OneAtATime(Nosy(), Nosy())

    def use():
        for _ in range(3):
            shared.generate([], None, version=1, seed=0)
            shared.score([])

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == {"engine": 1, "reward": 1}


def test_stale_responses_must_be_weighed():
    raw = stage_of(4, 1).model_dump(mode="json")
    raw["ppo"]["importance_cap"] = None
    with pytest.raises(ValueError, match=r"ppo\.importance_cap is null.*set a cap"):
        PpoStage.model_validate(raw)
    PpoStage.model_validate(raw | {"max_staleness": 0})


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_a_stale_sampler_still_climbs_to_the_best_answer(lag):
    """A language of 3 tokens × 2 steps; each update is the estimator's exact mean, by enumeration."""
    torch.manual_seed(4)
    theta = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)  # step, previous, next
    reward = torch.randn(3, 3, dtype=torch.float64)
    everything = list(product(range(3), range(3)))
    values = torch.stack([reward[a, b] for a, b in everything])

    def logprobs(at):
        rows = [
            torch.stack([at[0, 0].log_softmax(0)[a], at[1, a].log_softmax(0)[b]])
            for a, b in everything
        ]
        return torch.stack(rows)

    def expected():
        return float((logprobs(theta.detach()).sum(1).exp() * values).sum())

    before, versions, optimizer = expected(), [], torch.optim.Adam([theta], lr=0.15)
    for _ in range(40):
        versions.append(theta.detach().clone())
        sampler = logprobs(versions[max(0, len(versions) - 1 - lag)])
        drawn = sampler.sum(1).exp()  # how often each response comes
        old = logprobs(theta.detach())
        weights = importance_weights(old, sampler, 2.0)
        advantages = (values - (drawn * values).sum())[:, None].expand(-1, 2)
        for _ in range(2):
            terms = policy_loss(logprobs(theta), old, advantages, clip_low=0.2, clip_high=0.2)
            optimizer.zero_grad()
            (drawn[:, None] * weights * terms.loss).sum().backward()
            optimizer.step()
    best = float(values.max())
    assert before < best - 0.5 and expected() > best - 0.1, (before, expected(), best)


def ahead_of(pipeline_spec, lag, **changes) -> JobSpec:
    """GRPO alone, on a network from scratch, with a rule for reward."""
    raw = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    stage = raw["stages"][2]
    for name in ("critic", "critic_optimizer"):
        stage.pop(name)
    stage |= {
        "type": "grpo",
        "name": "grpo",
        "reward": {"type": "regex", "pattern": "a"},
        "samples_per_prompt": 2,
        "steps": 5,
        "max_staleness": lag,
        "preflight": {"enabled": False},
        "dynamic_sampling": {"rounds": 2},
    }
    raw["stages"] = [stage | changes]
    return JobSpec.model_validate(raw)


def reports(*contexts):
    found = [e for c in contexts for e in c.sink.events if isinstance(e, StepCompleted)]
    return {e.step: deterministic_part(e.report) for e in found}


def weights(context):
    return AutoModelForCausalLM.from_pretrained(context.folder.model).state_dict()


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def test_without_lag_it_is_the_plain_loop_to_the_bit(
    pipeline_spec, make_context, tmp_path, monkeypatch
):
    spec = ahead_of(pipeline_spec, 0)
    plain = make_context(spec, tmp_path / "plain")
    run_pipeline(plain)
    monkeypatch.setattr(assembly, "InStep", lambda: Ahead(0))
    other = make_context(spec, tmp_path / "other")
    run_pipeline(other)
    assert reports(plain) == reports(other)
    assert same(weights(plain), weights(other))


@pytest.mark.parametrize("lag", [1, 2])
def test_a_run_with_staleness_is_resumed_at_any_step_to_the_bit(
    pipeline_spec, make_context, tmp_path, lag
):
    spec = ahead_of(pipeline_spec, lag, evaluation=None)
    whole = make_context(spec, tmp_path / "whole")
    run_pipeline(whole)
    found = reports(whole)
    assert [r["staleness_max"] for r in found.values()] == [min(n, lag) for n in range(5)]
    assert found[1]["importance_weight_max"] == pytest.approx(1, abs=1e-4)
    assert found[5]["sampler_difference_max"] > 1e-3, "older weights drew these"
    for step in range(1, 5):
        halted, resumed = stopped_and_resumed(
            make_context, spec, tmp_path / f"halted-{step}", ("grpo", step)
        )
        assert reports(halted, resumed) == found
        assert same(weights(whole), weights(resumed))


def test_a_crash_between_checkpoints_and_evaluations_in_between(
    pipeline_spec, make_context, tmp_path
):
    plain = ahead_of(pipeline_spec, 1)
    evaluation = plain.stages[0].evaluation.model_dump(mode="json") | {"every": 2}
    spec = ahead_of(pipeline_spec, 1, evaluation=evaluation)
    whole = make_context(spec, tmp_path / "whole")
    run_pipeline(whole)

    class Killed(Exception):
        pass

    def crash(stage, step):
        if step == 4:
            raise Killed

    crashed = make_context(spec, tmp_path / "crashed", progress=crash)
    with pytest.raises(Killed):
        run_pipeline(crashed)
    resumed = make_context(spec, tmp_path / "crashed", reported={"grpo": 4})
    run_pipeline(resumed)
    assert reports(crashed, resumed) == reports(whole)
    assert same(weights(whole), weights(resumed))
    unwatched = make_context(ahead_of(pipeline_spec, 1, evaluation=None), tmp_path / "unwatched")
    run_pipeline(unwatched)
    assert reports(unwatched) == reports(whole), "evaluation changes nothing"


def test_a_kl_budget_ends_a_stage_that_samples_ahead(pipeline_spec, make_context, tmp_path):
    spec = ahead_of(
        pipeline_spec, 2, steps=9, ppo={"kl_budget": 1e-4}, optimizer={"learning_rate": 3e-2}
    )
    context = make_context(spec, tmp_path / "job")
    run_pipeline(context)
    assert 1 < len(reports(context)) < 9
    assert context.folder.result.exists()
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_where_the_time_went_adds_up(pipeline_spec, make_context, tmp_path):
    context = make_context(ahead_of(pipeline_spec, 1), tmp_path / "job")
    run_pipeline(context)
    for event in context.sink.events:
        if isinstance(event, StepCompleted):
            seconds, ahead = event.report.seconds, event.report.ahead_seconds
            parts = seconds.model_dump(exclude={"total"})
            assert sum(parts.values()) == pytest.approx(seconds.total, rel=0.01)
            assert ahead.generate > 0 and seconds.wait > 0
