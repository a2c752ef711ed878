"""Continuous batching: no response may depend on what shares the cache with it."""

from __future__ import annotations

import pytest
import torch

from rlhf_service.models.build import build_scratch
from rlhf_service.models.ragged import use_ragged
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.records import Prompt
from rlhf_service.rollout.growing import GrowingSampler
from rlhf_service.rollout.slots import SlotCache, SlotSampler
from rlhf_service.spec import SamplingSpec, ScratchModel

EOS = torch.arange(40)
"""So many that responses end early, and slots empty and fill again all the time."""


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    spec = ScratchModel(
        architecture=request.param, hidden_size=16, num_layers=2, num_heads=2, context_length=64
    )
    network = build_scratch(spec, train_tokenizer(["a good film"] * 4, 300), 1)
    return network.eval().requires_grad_(False)


def prompts_of(count: int, samples: int) -> list[Prompt]:
    rng = torch.Generator().manual_seed(0)
    found = []
    for position in range(count):
        length = int(torch.randint(1, 9, (1,), generator=rng))
        tokens = torch.randint(3, 200, (length,), generator=rng).tolist()
        found += [
            Prompt(position=position, sample=n, row=position, text="", token_ids=tuple(tokens))
            for n in range(samples)
        ]
    return found


@pytest.mark.parametrize("slots", [1, 3, 64])
@pytest.mark.parametrize("greedy", [False, True])
def test_slots_draw_what_shrinking_batches_draw(model, slots, greedy):
    prompts = prompts_of(9, 2)
    sampling = SamplingSpec(max_new_tokens=12, temperature=0.9, greedy=greedy)
    with torch.no_grad():
        model.set_attn_implementation("sdpa")
        wanted = GrowingSampler(model, EOS, 64).sample(prompts, sampling, seed=4)
        use_ragged(model)
        found = SlotSampler(model, EOS, slots).sample(prompts, sampling, seed=4)
    assert [answer.token_ids for answer in found] == [answer.token_ids for answer in wanted]
    for one, two in zip(found, wanted, strict=True):
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)
    lengths = {len(answer.token_ids) for answer in found}
    assert greedy or len(lengths) > 2


def test_each_prompt_is_read_once_for_all_its_samples(model):
    use_ragged(model)
    read = []
    whole = model.forward

    def spy(**given):
        read.append(given["input_ids"].shape)
        return whole(**given)

    model.forward = spy
    try:
        with torch.no_grad():
            prompts = prompts_of(2, 5)
            SlotSampler(model, EOS, 64).sample(prompts, SamplingSpec(max_new_tokens=2), seed=0)
    finally:
        del model.forward
    tokens = {prompt.token_ids for prompt in prompts}
    assert read[0] == (1, sum(map(len, tokens)))


def test_freed_slots_are_filled_by_the_last_live_ones():
    cache = SlotCache.empty(4, 3, torch.device("cpu"))
    held = torch.arange(4.0)[:, None, None, None].expand(4, 1, 3, 2)
    cache.keys, cache.values = [held.clone()], [held.clone()]
    cache.lengths, cache.live = torch.tensor([3, 2, 1, 2]), 4
    assert cache.release([0, 2]) == [(3, 2), (2, 0)]
    assert cache.live == 2
    assert cache.lengths[:2].tolist() == [2, 2]
    assert cache.keys[0][0, 0, :2, 0].tolist() == [3, 3]
    assert cache.keys[0][1, 0, :2, 0].tolist() == [1, 1]
