"""Responses of several turns: what is kept, what is learnt, what is skipped."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_service.algorithms.advantages import gae
from rlhf_service.algorithms.rewards import RunningMoments
from rlhf_service.batch import collate
from rlhf_service.credit import assign_credit
from rlhf_service.environment.calculator import Calculator, result
from rlhf_service.environment.turns import TurnEngine
from rlhf_service.events import EvaluationCompleted, StepCompleted
from rlhf_service.learner.group import SoloGroup
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.records import FinishReason, Prompt, Rollout, Score
from rlhf_service.spec import JobSpec, PpoSpec, SamplingSpec
from rlhf_service.spec.environment import CalculatorSpec
from rlhf_service.stages.pipeline import run_pipeline
from tests.unit.learners import GradientEngine, learner_of, stage_of


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["calc(3+4)=7\n 12*5 error"] * 4, 300)


class Scripted:
    """A RolloutEngine that says given turns, by (position, turn)."""

    def __init__(self, tokenizer, turns: dict[int, list[str]]) -> None:
        self._tokenizer, self._turns = tokenizer, turns
        self.asked: list[tuple[int, tuple[int, ...], int, int]] = []

    def generate(self, prompts, sampling, *, version, seed):
        found = []
        for prompt in prompts:
            said = self._turns[prompt.position].pop(0)
            ids = [*self._tokenizer.encode(said, add_special_tokens=False)]
            ids.append(self._tokenizer.eos_token_id)
            ended = len(ids) <= sampling.max_new_tokens
            ids = ids[: sampling.max_new_tokens]
            self.asked.append((prompt.position, prompt.token_ids, sampling.max_new_tokens, seed))
            found.append(
                Rollout(
                    prompt=prompt,
                    token_ids=tuple(ids),
                    logprobs=tuple(-1.0 - i for i in range(len(ids))),
                    text=said,
                    finish_reason=FinishReason.EOS if ended else FinishReason.LENGTH,
                    policy_version=version,
                )
            )
        return found


def prompt(position: int) -> Prompt:
    return Prompt(position=position, sample=0, row=position, text="?", token_ids=(5, 6))


def talk(tokenizer, turns, limit=40, max_turns=3):
    engine = Scripted(tokenizer, turns)
    calculator = Calculator(CalculatorSpec(max_turns=max_turns))
    talker = TurnEngine(engine, calculator, tokenizer, max_turns)
    prompts = [prompt(position) for position in turns]
    sampling = SamplingSpec(max_new_tokens=limit)
    return talker.generate(prompts, sampling, version=1, seed=7), engine


def test_tokens_are_kept_as_they_were_sampled_and_told(tokenizer):
    [called, plain], engine = talk(tokenizer, {0: ["calc(3+4)", "7"], 1: ["12"]})
    told = tokenizer.encode("=7\n", add_special_tokens=False)
    first = [*tokenizer.encode("calc(3+4)", add_special_tokens=False), tokenizer.eos_token_id]
    last = [*tokenizer.encode("7", add_special_tokens=False), tokenizer.eos_token_id]
    assert list(called.token_ids) == first + told + last
    assert list(called.action_mask) == [True] * len(first) + [False] * len(told) + [True] * len(
        last
    )
    assert [lp for lp, a in zip(called.logprobs, called.action_mask, strict=True) if not a] == [
        0.0
    ] * len(told)
    assert called.prompt == prompt(0)
    assert (called.text, called.transcript) == ("7", "calc(3+4)=7\n7")
    assert plain.action_mask == () and plain.transcript == ""
    # The second request reads everything so far, has the room that is left, and draws anew.
    _, read, room, seed = engine.asked[2]
    assert read == (5, 6, *first, *told)
    assert room == 40 - len(first) - len(told) and seed != engine.asked[0][3]


def test_turns_end_at_their_number_and_at_the_limit(tokenizer):
    [twice], engine = talk(tokenizer, {0: ["calc(1+1)", "calc(2+2)", "never"]}, max_turns=2)
    assert len(engine.asked) == 2 and twice.text == "calc(2+2)"
    length = len(tokenizer.encode("calc(1+1)", add_special_tokens=False)) + 1
    told = len(tokenizer.encode("=2\n", add_special_tokens=False))
    [full], engine = talk(tokenizer, {0: ["calc(1+1)", "2"]}, limit=length + told)
    assert len(engine.asked) == 1 and full.truncated and all(full.actions)


@given(st.integers(-999, 999), st.integers(-999, 999), st.sampled_from("+-*"))
def test_whole_numbers_are_worked_out_exactly(a, b, sign):
    assert result(f"{a}{sign}({b})") == str({"+": a + b, "-": a - b, "*": a * b}[sign])


@given(st.text(max_size=30))
def test_any_expression_has_some_result(text):
    assert result(text)


@pytest.mark.parametrize("text", ["1/0", "x", "", "9^9^9^9", "__import__('os')", "(" * 300])
def test_what_has_no_value_is_an_error(text):
    assert result(text) == "error"


def test_credit_steps_over_the_environment_tokens(tokenizer):
    """A response with a hole is credited as the same response without it."""
    [holed], _ = talk(tokenizer, {0: ["calc(3+4)", "7"]})
    keep = [i for i, mine in enumerate(holed.action_mask) if mine]
    whole = dataclasses.replace(
        holed,
        token_ids=tuple(holed.token_ids[i] for i in keep),
        logprobs=tuple(holed.logprobs[i] for i in keep),
        action_mask=(),
    )
    torch.manual_seed(0)
    width = len(holed.token_ids)
    rewards, values = torch.randn(1, width), torch.randn(1, width)
    mask = collate([holed], [Score(value=1.0)], 1.0).response_mask
    advantages, returns = gae(rewards, values, mask, 0.9, 0.8)
    shorter = gae(rewards[:, keep], values[:, keep], mask[:, keep], 0.9, 0.8)
    torch.testing.assert_close(advantages[:, keep], shorter[0])
    torch.testing.assert_close(returns[:, keep], shorter[1])
    assert collate([whole], [Score(value=1.0)], 1.0).num_tokens == int(mask.sum())


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_the_gradient_ignores_what_the_environment_said_but_reads_it(
    networks,
    layout,
):
    tokenizer = networks[1]

    def gradient(logprob: float, told: str):
        ids = tokenizer.encode("a good", add_special_tokens=False)
        reply = tokenizer.encode(told, add_special_tokens=False)
        answer = tokenizer.encode("film", add_special_tokens=False)
        tokens = (*ids, *reply, *answer)
        mask = (True,) * len(ids) + (False,) * len(reply) + (True,) * len(answer)
        rollout = Rollout(
            prompt=prompt(0),
            token_ids=tokens,
            logprobs=tuple(-1.0 if mine else logprob for mine in mask),
            text="film",
            finish_reason=FinishReason.EOS,
            policy_version=1,
            action_mask=mask,
        )
        batch = collate([rollout], [Score(value=1.0)], 0.8)
        learner = learner_of(networks, stage_of(importance_cap=None), GradientEngine, layout=layout)
        recall = learner.annotate(batch)
        assigned = assign_credit(
            batch,
            recall,
            PpoSpec(),
            limit=64,
            kl_coef=0.1,
            normaliser=RunningMoments(),
            group=SoloGroup(),
        )
        learner.update(batch, recall, assigned.credit, step=1, kl_coef=0.1)
        assert isinstance(learner.policy, GradientEngine)
        return torch.cat([g.flatten() for g in learner.policy.gradient.values()])

    one = gradient(0.0, " bad film")
    assert torch.equal(one, gradient(-5.0, " bad film"))
    assert not torch.allclose(one, gradient(0.0, " a a a"))


def test_a_policy_learns_to_use_the_calculator(make_context, tmp_path):
    """SFT on calls and on guesses; then the reward pays right answers only."""
    from rlhf_service.recipes.calculator.data import prepare
    from rlhf_service.recipes.calculator.recipe import calculator_spec

    spec = calculator_spec(prepare(tmp_path / "data"), seed=0)
    sft, grpo = spec.stages
    evaluation = grpo.evaluation.model_copy(update={"num_prompts": 32})
    small = (
        sft.model_copy(update={"steps": 60}),
        grpo.model_copy(update={"steps": 4, "prompts_per_step": 8, "evaluation": evaluation}),
    )
    spec = JobSpec.model_validate_json(spec.model_copy(update={"stages": small}).model_dump_json())
    context = make_context(spec, tmp_path / "job")
    run_pipeline(context)
    reports = [
        e.report for e in context.sink.events if isinstance(e, StepCompleted) and e.stage == "grpo"
    ]
    assert abs(reports[0].kl) < 1e-5 and reports[0].sampler_difference_max < 1e-4
    before, after = (e for e in context.sink.events if isinstance(e, EvaluationCompleted))
    assert len(before.scores) == len(after.scores) == 32
    assert any("calc(" in s.response and "=" in s.response for s in after.samples)
