"""Batches sampled while earlier ones are learnt: their order, their weights, whose prompts."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Executor, Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_service.ahead import Ahead, OneAtATime, sampled_by
from rlhf_service.algorithms.rewards import RunningMoments
from rlhf_service.clock import PhaseClock
from rlhf_service.data.plan import RowPlan
from rlhf_service.data.rows import PromptRow
from rlhf_service.drawing import teaches
from rlhf_service.learner.group import SoloGroup
from rlhf_service.ledger import PromptLedger
from rlhf_service.ports import KEPT_VERSIONS, WeightSnapshot
from rlhf_service.prompts import PromptSource
from rlhf_service.spec import PpoStage
from rlhf_service.step import PpoRun, PpoState
from rlhf_service.testing import FunctionReward, InProcessChannel
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
