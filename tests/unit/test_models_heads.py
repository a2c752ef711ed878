"""Scalar heads: where they read, how they start, and that padding and packing change nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_service.data.tokens import collate_sequences
from rlhf_service.errors import ModelError
from rlhf_service.models.build import build_scratch
from rlhf_service.models.heads import RewardModel, ValueModel
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.spec.model import ScratchModel

WIDTH = 32


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def causal(request):
    tokenizer = train_tokenizer(["a good film", "a bad film"] * 4, 300)
    spec = ScratchModel(
        architecture=request.param,
        hidden_size=WIDTH,
        num_layers=2,
        num_heads=2,
        context_length=32,
        vocab_size=300,
    )
    return build_scratch(spec, tokenizer, 0).eval()


@pytest.fixture(scope="module")
def rewarder(causal):
    return RewardModel.of(causal, seed=1).eval()


@pytest.fixture(scope="module")
def critic(causal):
    critic = ValueModel.of(build_again(causal)).eval()
    torch.nn.init.normal_(critic.head.weight, generator=torch.Generator().manual_seed(0))
    return critic


def build_again(causal):
    copy = type(causal)(causal.config)
    copy.load_state_dict(causal.state_dict())
    return copy


sequences = st.lists(
    st.lists(st.integers(0, 259), min_size=1, max_size=12).map(tuple), min_size=1, max_size=5
)


@settings(max_examples=25, deadline=None)
@given(sequences, st.integers(0, 5), st.integers(0, 259))
@torch.no_grad()
def test_padding_of_any_kind_changes_no_score(rewarder, rows, extra, filler):
    """The score is read by the attention mask: neither more padding nor its ids matter."""
    alone = [rewarder(torch.tensor([row]), torch.ones(1, len(row)).long())[0] for row in rows]
    batch = collate_sequences(rows)
    ids = torch.nn.functional.pad(batch.input_ids, (0, extra))
    mask = torch.nn.functional.pad(batch.attention_mask, (0, extra))
    found = rewarder(ids.masked_fill(mask == 0, filler), mask)
    torch.testing.assert_close(found, torch.stack(alone), rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(sequences)
@torch.no_grad()
def test_padded_and_packed_values_agree(critic, rows):
    batch = collate_sequences(rows)
    padded = critic(batch.input_ids, batch.attention_mask)[batch.attention_mask.bool()]
    packed = critic(
        torch.tensor([[token for row in rows for token in row]]),
        position_ids=torch.cat([torch.arange(len(row)) for row in rows])[None],
    )[0]
    torch.testing.assert_close(packed, padded, rtol=1e-5, atol=1e-5)


def test_a_new_critic_says_zero_and_its_head_learns_at_once(causal):
    critic = ValueModel.of(build_again(causal))
    values = critic(torch.tensor([[3, 4, 5]]), torch.ones(1, 3).long())
    assert values.shape == (1, 3) and not values.any()
    (values - 1).square().sum().backward()
    assert critic.head.weight.grad.abs().max() > 0
    assert all(p.grad is None or not p.grad.any() for p in critic.trunk.parameters())


def test_the_score_head_is_drawn_narrow_and_by_the_seed(causal):
    before = torch.get_rng_state()
    heads = [RewardModel.of(causal, seed).classifier.score.weight for seed in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    drawn = torch.cat([RewardModel.of(causal, s).classifier.score.weight for s in range(40)])
    # 1280 draws: the sample deviation is within 8 % of the true one (4 standard errors).
    assert drawn.std().item() == pytest.approx((WIDTH + 1) ** -0.5, rel=0.08)


def test_the_trunk_is_the_policys_and_not_shared(causal, rewarder):
    trunk, own = rewarder.classifier.base_model.state_dict(), causal.base_model.state_dict()
    assert trunk.keys() == own.keys()
    for name, tensor in trunk.items():
        assert torch.equal(tensor, own[name])
        assert tensor.data_ptr() != own[name].data_ptr()


def test_the_bias_is_added_to_every_score(rewarder):
    ids, mask = torch.tensor([[3, 4], [5, 6]]), torch.ones(2, 2).long()
    shifted = RewardModel(rewarder.classifier, bias=-1.5)
    torch.testing.assert_close(shifted(ids, mask), rewarder(ids, mask) - 1.5)


def test_an_architecture_without_a_classifier_is_refused():
    from transformers import CodeGenConfig, CodeGenForCausalLM

    config = CodeGenConfig(
        vocab_size=60, n_embd=16, n_layer=1, n_head=4, rotary_dim=4, n_positions=16, n_ctx=16
    )
    with pytest.raises(ModelError, match="codegen model cannot become a reward model"):
        RewardModel.of(CodeGenForCausalLM(config), seed=0)
