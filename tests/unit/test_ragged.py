"""Attention of rows that lie end to end: the same as each row by itself."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from rlhf_service.models.build import build_scratch
from rlhf_service.models.lstm import LstmConfig, LstmForCausalLM
from rlhf_service.models.ragged import BY_PRODUCTS, Rows, causal, takes_ragged, use_ragged
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.planning.activations import WHOLE_SCORES
from rlhf_service.spec import ScratchModel


def network_of(architecture: str):
    torch.manual_seed(0)
    if architecture == "grouped":
        sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
        config = LlamaConfig(vocab_size=300, num_attention_heads=4, num_key_value_heads=2, **sizes)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    tokenizer = train_tokenizer(["a good film"] * 4, 300)
    spec = ScratchModel(
        architecture=architecture, hidden_size=16, num_layers=2, num_heads=2, context_length=64
    )
    return build_scratch(spec, tokenizer, 3)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "grouped"])
@pytest.mark.parametrize("lengths", [[5], [4, 4, 4], [1, 9, 3], [2, 2, 7]])
def test_packed_rows_give_what_each_gives_alone_and_the_same_gradient(architecture, lengths):
    plain = network_of(architecture)
    ragged = copy.deepcopy(plain)
    use_ragged(ragged)
    rows = [torch.randint(0, plain.config.vocab_size, (1, n)) for n in lengths]
    weights = [torch.randn(1, n, 1) for n in lengths]
    alone = [plain(input_ids=row).logits for row in rows]
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    packed = ragged(
        input_ids=torch.cat(rows, dim=1), position_ids=positions, rows=Rows.of(lengths)
    ).logits
    torch.testing.assert_close(packed, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-5)
    (packed * torch.cat(weights, dim=1)).square().sum().backward()
    sum(
        (one * weight).square().sum() for one, weight in zip(alone, weights, strict=True)
    ).backward()
    for one, two in zip(ragged.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scaling", [None, 0.3])
def test_short_bf16_rows_see_what_the_fused_kernel_sees(scaling):
    """Against it in fp32, on the same rounded inputs: within what bf16 rounds."""
    torch.manual_seed(0)
    given = [torch.randn(3, 2, 17, 8).bfloat16() for _ in range(3)]
    weight = torch.randn(3, 2, 17, 8)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        inputs = [one.detach().to(dtype, copy=True).requires_grad_() for one in given]
        seen = causal(*inputs, scaling)
        (seen.float() * weight).sum().backward()
        found.append([seen.detach(), *(one.grad for one in inputs)])
    for ours, whole in zip(*found, strict=True):
        assert (ours.float() - whole).norm() < 0.01 * whole.norm()


def test_the_planner_knows_which_rows_keep_their_scores():
    assert BY_PRODUCTS == WHOLE_SCORES
    query, key, value = (
        torch.randn(1, 2, BY_PRODUCTS + 1, 4).bfloat16().requires_grad_() for _ in range(3)
    )
    for length, whole in ((BY_PRODUCTS, True), (BY_PRODUCTS + 1, False)):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda kept: sizes.append(kept.numel()) or kept,  # noqa: B023
            lambda kept: kept,
        ):
            causal(query[:, :, :length], key[:, :, :length], value[:, :, :length], None)
        assert (max(sizes) == 2 * length**2) is whole


def test_short_bf16_rows_see_nothing_to_come():
    torch.manual_seed(0)
    inputs = [torch.randn(1, 2, 9, 4).bfloat16() for _ in range(3)]
    changed = [one.clone() for one in inputs]
    for one in changed:
        one[:, :, 6:] = 5.0
    before, after = causal(*inputs, None), causal(*changed, None)
    assert torch.equal(before[:, :, :6], after[:, :, :6])
    assert not torch.equal(before, after)


def test_no_mask_of_all_pairs_of_tokens_is_made(monkeypatch):
    """Which would cost memory in the square of a microbatch's tokens."""
    network = network_of("llama")
    use_ragged(network)
    seen = []
    whole = torch.nn.functional.scaled_dot_product_attention

    def spy(query, key, value, attn_mask=None, **rest):
        seen.append((attn_mask, query.shape[2]))
        return whole(query, key, value, attn_mask=attn_mask, **rest)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    positions = torch.cat([torch.arange(n) for n in (3, 6)])[None]
    network(
        input_ids=torch.ones(1, 9, dtype=torch.long), position_ids=positions, rows=Rows.of([3, 6])
    )
    assert seen == [(None, 6)] * 2


@pytest.mark.parametrize(
    ("network", "answer"),
    [
        (lambda: network_of("llama"), True),
        (lambda: network_of("gpt2"), True),
        (lambda: mistral(sliding_window=8), False),
        (lambda: mistral(sliding_window=None), True),
        (lambda: LstmForCausalLM(LstmConfig(vocab_size=300, hidden_size=8)), False),
    ],
)
def test_only_plain_causal_attention_is_replaced(network, answer):
    assert takes_ragged(network()) is answer


def mistral(sliding_window: int | None):
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = MistralConfig(vocab_size=300, sliding_window=sliding_window, **sizes, **heads)
    return AutoModelForCausalLM.from_config(config)


def test_used_as_anywhere_else_the_network_attends_as_it_did():
    plain = network_of("grouped")
    ragged = copy.deepcopy(plain)
    use_ragged(ragged)
    ids = torch.randint(3, 300, (2, 6))
    padded = torch.ones_like(ids)
    padded[0, :3] = 0
    for given in ({}, {"attention_mask": padded}):
        one, two = (
            network.generate(ids, do_sample=False, max_new_tokens=5, pad_token_id=0, **given)
            for network in (plain, ragged)
        )
        assert torch.equal(one, two)
        torch.testing.assert_close(
            ragged(input_ids=ids, **given).logits, plain(input_ids=ids, **given).logits
        )
