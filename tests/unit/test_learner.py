"""The PPO learner: what may not change its gradient, and that it learns."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from rlhf_service.batch import Credit, collate
from rlhf_service.errors import WeightsUnavailable
from rlhf_service.learner.critic import EngineCritic, NoCritic
from rlhf_service.learner.group import SoloGroup
from rlhf_service.learner.ppo import PpoLearner
from rlhf_service.models.build import build_scratch
from rlhf_service.models.digest import digests
from rlhf_service.models.heads import ValueModel
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.ports import KEPT_VERSIONS, WeightSnapshot
from rlhf_service.records import FinishReason, Prompt, Rollout, Score, ScoreFailure
from rlhf_service.rollout.transformers import TransformersEngine
from rlhf_service.spec import (
    DataSpec,
    LearnerSpec,
    OptimizerSpec,
    PpoSpec,
    PpoStage,
    SamplingSpec,
    ScratchModel,
)
from rlhf_service.spec.reward import LengthReward
from rlhf_service.testing import InProcessChannel, PlainEngine


class GradientEngine(PlainEngine):
    """Keeps the gradient of each step instead of applying it."""

    def step(self, learning_rate: float) -> float:
        self.gradient = {n: p.grad.clone() for n, p in self.module.named_parameters()}
        return 1.0


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def networks(request):
    tokenizer = train_tokenizer(["a good film", "a bad film"] * 4, 300)
    spec = ScratchModel(
        architecture=request.param, hidden_size=16, num_layers=2, num_heads=2, context_length=64
    )
    return build_scratch(spec, tokenizer, 3), tokenizer


def stage_of(**ppo) -> PpoStage:
    return PpoStage(
        prompts=DataSpec(path="unused"),
        reward=LengthReward(target=4),
        sampling=SamplingSpec(max_new_tokens=9, temperature=0.8),
        ppo=PpoSpec(**({"epochs": 1, "entropy_coef": 0.01} | ppo)),
        optimizer=OptimizerSpec(learning_rate=1e-2, max_grad_norm=100),
        critic_optimizer=OptimizerSpec(learning_rate=1e-2, max_grad_norm=100),
    )


def learner_of(networks, stage, engine=PlainEngine, **learner) -> PpoLearner:
    model, _ = networks
    critic = ValueModel.of(copy.deepcopy(model))
    torch.manual_seed(5)
    torch.nn.init.normal_(critic.head.weight)
    return PpoLearner(
        policy=engine(copy.deepcopy(model), stage.optimizer),
        critic=EngineCritic(engine(critic, stage.critic_optimizer), stage.ppo.value_clip),
        reference=copy.deepcopy(model),
        stage=stage,
        learner=LearnerSpec(**learner),
        group=SoloGroup(),
        device=torch.device("cpu"),
        seed=0,
    )


def prompts_of(tokenizer, count: int) -> list[Prompt]:
    texts = ["a", "a good", "a bad film a", "film"]
    return [
        Prompt(
            position=i,
            sample=0,
            row=i,
            text=texts[i % 4],
            token_ids=tuple(tokenizer.encode(texts[i % 4], add_special_tokens=False)),
        )
        for i in range(count)
    ]


def engine_of(networks) -> TransformersEngine:
    model, tokenizer = networks
    engine = TransformersEngine(copy.deepcopy(model), tokenizer)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    engine.load_weights(WeightSnapshot(1, digests(state), state))
    return engine


@pytest.fixture(scope="module")
def experience(networks):
    """A batch of ten rollouts, one of them without a score; annotated and credited at random."""
    engine = engine_of(networks)
    sampling = SamplingSpec(max_new_tokens=9, temperature=0.8)
    rollouts = engine.generate(prompts_of(networks[1], 10), sampling, version=1, seed=0)
    outcomes = [Score(value=float(i)) for i in range(10)]
    outcomes[4] = ScoreFailure(kind="raised", message="x")
    batch = collate(rollouts, outcomes, sampling.temperature)
    recall = learner_of(networks, stage_of()).annotate(batch)
    torch.manual_seed(7)
    mask = batch.response_mask
    credit = Credit(torch.randn(mask.shape) * mask, torch.randn(mask.shape) * mask, mask.float())
    return batch, recall, credit


def test_sampler_and_trainer_agree(networks, experience):
    batch, recall, _ = experience
    difference = (recall.old_logprobs - batch.sampler_logprobs).abs() * batch.response_mask
    assert difference.max() < 1e-5
    assert torch.equal(recall.old_logprobs, recall.ref_logprobs)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "sequence_sum", "fixed"])
@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize(
    "micro", [{"micro_batch_size": n} for n in (1, 3, 10)] + [{"micro_batch_tokens": 20}]
)
def test_layout_and_microbatches_change_neither_annotation_nor_gradient(
    networks, experience, layout, micro, aggregation
):
    batch, recall, credit = experience
    stage = stage_of(aggregation=aggregation)
    whole = learner_of(networks, stage, GradientEngine, micro_batch_size=10)
    parts = learner_of(networks, stage, GradientEngine, layout=layout, **micro)
    for name in ("old_logprobs", "values", "entropy"):
        torch.testing.assert_close(
            getattr(parts.annotate(batch), name), getattr(recall, name), rtol=1e-5, atol=1e-5
        )
    first = whole.update(batch, recall, credit, step=1, kl_coef=0.1)
    second = parts.update(batch, recall, credit, step=1, kl_coef=0.1)
    assert second.policy_loss == pytest.approx(first.policy_loss, abs=1e-5)
    assert first.approx_kl == pytest.approx(0, abs=1e-9) and first.clip_fraction_high == 0
    for one, two in ((whole.policy, parts.policy), (whole.critic.engine, parts.critic.engine)):
        for name, gradient in one.gradient.items():
            torch.testing.assert_close(two.gradient[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "sequence_sum", "fixed"])
def test_the_loss_is_what_its_aggregation_says(networks, experience, aggregation):
    """On-policy the ratio is 1, so the loss is −A of each token, weighted: written as loops."""
    batch, recall, credit = experience
    learner = learner_of(
        networks, stage_of(aggregation=aggregation, entropy_coef=0), GradientEngine
    )
    found = learner.update(batch, recall, credit, step=1, kl_coef=0.0).policy_loss
    rows = [
        [-float(a) for a, counts in zip(row, mask, strict=True) if counts]
        for row, mask in zip(credit.advantages, batch.response_mask, strict=True)
    ]
    rows = [row for row in rows if row]
    tokens = sum(map(len, rows))
    wanted = {
        "token": sum(map(sum, rows)) / tokens,
        "sequence": sum(sum(row) / len(row) for row in rows) / len(rows),
        "sequence_sum": sum(map(sum, rows)) / len(rows),
        "fixed": sum(map(sum, rows)) / (len(rows) * 9),
    }[aggregation]
    assert found == pytest.approx(wanted, rel=1e-5)


def test_without_a_critic_there_are_no_values_and_no_value_loss(networks, experience):
    batch, recall, credit = experience
    stage = stage_of(advantage={"type": "return_to_go"})
    learner = dataclasses.replace(learner_of(networks, stage, GradientEngine), critic=NoCritic())
    assert not learner.annotate(batch).values.any()
    stats = learner.update(batch, recall, credit, step=1, kl_coef=0.1)
    assert stats.value_loss == 0 and stats.critic_grad_norm == 0 and stats.policy_loss != 0


def test_the_first_step_after_the_critics_warm_up_knows_nothing_of_it(networks, experience):
    batch, recall, credit = experience
    warmed = learner_of(networks, stage_of(critic_warmup_steps=2, epochs=2, minibatches=2))
    fresh = learner_of(networks, stage_of(epochs=2, minibatches=2))
    begun = copy.deepcopy(warmed.policy.module.state_dict())
    critic = copy.deepcopy(warmed.critic.engine.module.state_dict())
    for step in (1, 2):
        stats = warmed.update(batch, recall, credit, step=step, kl_coef=0.1)
        assert stats.policy_grad_norm == 0 and stats.policy_loss != 0 and stats.approx_kl < 1e-9
    assert all(torch.equal(begun[n], t) for n, t in warmed.policy.module.state_dict().items())
    assert any(
        not torch.equal(critic[n], t) for n, t in warmed.critic.engine.module.state_dict().items()
    )
    one = warmed.update(batch, recall, credit, step=3, kl_coef=0.1)
    two = fresh.update(batch, recall, credit, step=3, kl_coef=0.1)
    assert one.policy_grad_norm == two.policy_grad_norm > 0
    for name, weight in fresh.policy.module.state_dict().items():
        assert torch.equal(warmed.policy.module.state_dict()[name], weight), name


@pytest.mark.parametrize("target, epochs", [(None, 4), (1e9, 4), (1e-9, 2)])
def test_a_target_kl_ends_the_epochs_of_a_batch(networks, experience, target, epochs):
    # The first pass is taken by the policy that sampled, so its KL is 0 and a second one follows.
    learner = learner_of(networks, stage_of(epochs=4, target_kl=target))
    assert learner.update(*experience, step=1, kl_coef=0.1).epochs == epochs


def test_a_quarantined_row_has_no_say(networks, experience):
    batch, recall, credit = experience
    kept = [row for row in range(10) if row != 4]
    everything = learner_of(networks, stage_of(), GradientEngine)
    without = learner_of(networks, stage_of(), GradientEngine)
    everything.update(batch, recall, credit, step=1, kl_coef=0.1)

    def pick(record):
        fields = {name: getattr(record, name)[kept] for name in record.__dataclass_fields__}
        return type(record)(**fields)

    without.update(batch.rows(kept), pick(recall), pick(credit), step=1, kl_coef=0.1)
    for name, gradient in everything.policy.gradient.items():
        torch.testing.assert_close(without.policy.gradient[name], gradient, rtol=1e-4, atol=1e-6)


def test_what_is_sampled_depends_on_the_prompt_alone(networks):
    engine, sampling = engine_of(networks), SamplingSpec(max_new_tokens=9)
    prompts = prompts_of(networks[1], 8)
    together = engine.generate(prompts, sampling, version=1, seed=3)
    alone = [engine.generate([p], sampling, version=1, seed=3)[0] for p in reversed(prompts)]
    for one, two in zip(together, reversed(alone), strict=True):
        assert one.token_ids == two.token_ids
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-5)
    other = engine.generate(prompts, sampling, version=1, seed=4)
    assert [r.token_ids for r in other] != [r.token_ids for r in together]


def test_a_response_ends_at_eos_or_at_the_limit(networks):
    engine, tokenizer = engine_of(networks), networks[1]
    rollouts = engine.generate(
        prompts_of(tokenizer, 400), SamplingSpec(max_new_tokens=6), version=1, seed=1
    )
    for r in rollouts:
        assert 1 <= len(r.token_ids) <= 6
        assert tokenizer.eos_token_id not in r.token_ids[:-1]
        ended = r.token_ids[-1] == tokenizer.eos_token_id
        assert (r.finish_reason is FinishReason.EOS) is ended
    assert {r.finish_reason for r in rollouts} == set(FinishReason)


def test_samples_follow_the_distribution(networks):
    """First tokens of many draws against the softmax: χ² over the likelier tokens."""
    engine, tokenizer = engine_of(networks), networks[1]
    ids = tuple(tokenizer.encode("a", add_special_tokens=False))
    prompts = [Prompt(position=i, sample=0, row=0, text="a", token_ids=ids) for i in range(4000)]
    rollouts = engine.generate(prompts, SamplingSpec(max_new_tokens=1), version=1, seed=9)
    with torch.no_grad():
        wanted = networks[0](torch.tensor([ids])).logits[0, -1].softmax(0) * len(prompts)
    counts = torch.bincount(torch.tensor([r.token_ids[0] for r in rollouts]), minlength=len(wanted))
    chi2 = float(((counts - wanted).square() / wanted).sum())
    degrees = len(wanted) - 1
    assert abs(chi2 - degrees) < 5 * (2 * degrees) ** 0.5


def test_an_engine_refuses_weights_that_are_not_what_was_published(networks):
    from rlhf_service.errors import WeightsCorrupt, WeightsUnavailable

    engine = engine_of(networks)
    state = {name: tensor.clone() for name, tensor in networks[0].state_dict().items()}
    promised = digests(state)
    first = next(name for name in state if "norm" in name or "ln_" in name)
    state[first].view(-1)[0] += 1e-3
    with pytest.raises(WeightsCorrupt, match=first):
        engine.load_weights(WeightSnapshot(2, promised, state))
    with pytest.raises(WeightsUnavailable):
        engine.generate(prompts_of(networks[1], 1), SamplingSpec(), version=2, seed=0)
    with pytest.raises(WeightsUnavailable):
        engine.generate(prompts_of(networks[1], 1), SamplingSpec(), version=1, seed=0)


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_ppo_raises_the_reward_of_a_favoured_tokens(networks, lag):
    """Reward: share of tokens of the lower half, half of them at first."""
    from rlhf_service.ahead import Ahead
    from rlhf_service.algorithms.rewards import RunningMoments
    from rlhf_service.data.plan import RowPlan
    from rlhf_service.data.rows import PromptRow
    from rlhf_service.ledger import PromptLedger
    from rlhf_service.prompts import PromptSource
    from rlhf_service.sources import InStep
    from rlhf_service.step import PpoRun, PpoState, ppo_step, publish
    from rlhf_service.testing import FunctionReward, PullingEngine

    _, tokenizer = networks
    half = len(tokenizer) // 2

    def share(rollout: Rollout) -> float:
        return sum(token < half for token in rollout.token_ids) / len(rollout.token_ids)

    stage = stage_of(epochs=2, entropy_coef=0.0).model_copy(
        update={"prompts_per_step": 48, "steps": 12 + 4 * lag, "max_staleness": lag}
    )
    learner = learner_of(networks, stage, micro_batch_size=48)
    torch.nn.init.zeros_(learner.critic.engine.module.head.weight)
    channel = InProcessChannel(KEPT_VERSIONS + lag)
    rows = [PromptRow("a", {}), PromptRow("a good", {})]
    run = PpoRun(
        stage=stage,
        seed=0,
        prompts=PromptSource(
            rows,
            [tuple(tokenizer.encode(r.prompt, add_special_tokens=False)) for r in rows],
            RowPlan(2, 48, 0),
        ),
        engine=PullingEngine(engine_of(networks), channel),
        reward=FunctionReward(share),
        metrics={},
        learner=learner,
        weights=channel,
        group=SoloGroup(),
        source=Ahead(lag) if lag else InStep(),
    )
    state = PpoState(0, 1, 0.0, RunningMoments(), PromptLedger())
    publish(run, 1)
    scores = []
    for _ in range(stage.steps):
        outcome = ppo_step(run, state)
        state = outcome.state
        scores.append(outcome.report.score_mean)
    run.source.close()
    assert scores[0] < 0.65 and sum(scores[-3:]) / 3 > 0.75, scores
    assert state.ledger.cursor == stage.steps * 48 and state.policy_version == stage.steps + 1


def test_a_channel_within_one_process_forgets_old_versions():
    """Or a long stage in one process would keep every policy it ever had."""
    channel = InProcessChannel()
    for version in (1, 2, 3, 5, 4):
        tensors = {"weight": torch.full((2,), float(version))}
        channel.publish(WeightSnapshot(version, digests(tensors), tensors))
    assert channel.fetch(4).tensors["weight"].tolist() == [4, 4]
    assert channel.fetch(5).version == 5
    with pytest.raises(WeightsUnavailable):
        channel.fetch(3)


def test_minibatches_are_the_same_rows_whatever_the_number_of_ranks(networks):
    """Of 36 rows that lie on 1, 2, 3 or 6 ranks of a group that may have any of these sizes."""
    rows, shares, minibatches = 36, 6, 3
    found = []
    for ranks in (1, 2, 3, 6):
        learner = dataclasses.replace(
            learner_of(networks, stage_of(minibatches=minibatches)), parts=shares // ranks
        )
        each = rows // ranks
        cuts = learner._minibatches(each, step=4, epoch=1)
        assert all(len(cut) == each // minibatches for cut in cuts)
        found.append([{rank * each + row for rank in range(ranks) for row in cut} for cut in cuts])
    assert all(other == found[0] for other in found)
    assert set().union(*found[0]) == set(range(rows))
