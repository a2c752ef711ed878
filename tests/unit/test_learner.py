"""The PPO learner: what may not change its gradient."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from rlhf_service.batch import Credit, collate
from rlhf_service.learner.critic import NoCritic
from rlhf_service.records import Score, ScoreFailure
from rlhf_service.spec import SamplingSpec
from tests.unit.learners import GradientEngine, engine_of, learner_of, prompts_of, stage_of


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
