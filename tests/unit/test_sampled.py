"""What an engine draws, and by which weights."""

from __future__ import annotations

import pytest
import torch

from rlhf_service.errors import WeightsCorrupt, WeightsUnavailable
from rlhf_service.models.digest import digests
from rlhf_service.ports import WeightSnapshot
from rlhf_service.records import FinishReason, Prompt
from rlhf_service.spec import SamplingSpec
from tests.unit.learners import engine_of, prompts_of


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
