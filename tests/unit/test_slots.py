"""Continuous batching: no response may depend on what shares the cache with it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch._subclasses import FakeTensorMode

from rlhf_service.models.build import build_scratch
from rlhf_service.models.ragged import use_ragged
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.records import Prompt
from rlhf_service.rollout.growing import GrowingSampler
from rlhf_service.rollout.recorded import Recorder, rows_for
from rlhf_service.rollout.slot_cache import SlotCache
from rlhf_service.rollout.slots import SlotSampler
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
    for answers in (found, wanted):
        assert all(answer.seconds > 0 for answer in answers)
    if slots == 64:  # all under way at once: whoever has more tokens ends later
        by_length = sorted(found, key=lambda answer: len(answer.token_ids))
        for one, two in pairwise(by_length):
            assert one.seconds < two.seconds or len(one.token_ids) == len(two.token_ids)


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
    cache.take([3, 2, 1, 2])
    assert cache.release([0, 2]) == [(3, 0)]
    assert cache.live == 2
    assert cache.lengths.tolist() == [2, 2, 0, 0]
    assert cache.held == [2, 2]
    assert cache.keys[0][0, 0, :2, 0].tolist() == [3, 3]
    assert cache.keys[0][1, 0, :2, 0].tolist() == [1, 1]


class Repeated:
    """A recording without a graph: the step in the recorded size, worked out again."""

    def __init__(self, cache: SlotCache, step, rows: int, most: int) -> None:
        self._size = (rows, most)
        self._step = lambda tokens: step(cache, tokens, most)
        self._tokens = torch.zeros(rows, dtype=torch.long)
        self._step(self._tokens)  # as before a graph is recorded: leaves its traces in the cache

    def play(self, tokens: torch.Tensor) -> torch.Tensor:
        self._tokens[: len(tokens)] = tokens
        return self._step(self._tokens)[: len(tokens)]


@pytest.mark.parametrize("slots", [1, 24])
def test_steps_in_rounded_sizes_on_a_cache_that_stays_draw_the_same(model, slots):
    sampling = SamplingSpec(max_new_tokens=12, temperature=0.9)
    use_ragged(model)
    recorder = Recorder(torch.device("cpu"), Repeated)
    played = SlotSampler(model, EOS, slots, recorder)
    with torch.no_grad():
        for count, samples, seed in ((9, 4, 4), (3, 1, 5), (12, 3, 6)):
            prompts = prompts_of(count, samples)
            wanted = SlotSampler(model, EOS, slots).sample(prompts, sampling, seed)
            found = played.sample(prompts, sampling, seed)
            assert [a.token_ids for a in found] == [a.token_ids for a in wanted]
            for one, two in zip(found, wanted, strict=True):
                assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)


def test_what_was_recorded_is_void_once_the_cache_had_to_grow(model):
    made = []

    def record(cache, step, rows, most):
        made.append((rows, most))
        return Repeated(cache, step, rows, most)

    use_ragged(model)
    sampler = SlotSampler(model, EOS, 16, Recorder(torch.device("cpu"), record))
    with torch.no_grad():
        for length in (4, 8, 50, 50):
            sampling = SamplingSpec(max_new_tokens=length, temperature=0.9)
            sampler.sample(prompts_of(16, 1), sampling, seed=4)
    assert made.count((16, 64)) <= 1
    assert len(made) == len(set(made))
    sampler.sample(prompts_of(16, 1), SamplingSpec(max_new_tokens=60), seed=4)
    assert len(made) > len(set(made))


def test_rows_are_halved_as_often_as_the_live_ones_fit():
    assert [rows_for(live, 256) for live in (256, 129, 128, 9, 8, 1)] == [256, 256, 128, 16, 8, 8]
    assert [rows_for(live, 6) for live in (6, 1)] == [6, 6]


def test_a_step_asks_nothing_of_the_device(model):
    """So that it can be recorded: fake tensors have no values that Python could ask for."""
    use_ragged(model)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        network = type(model)(model.config).eval()
        use_ragged(network)
        sampler = SlotSampler(network, torch.tensor([0]), 4)
        cache = SlotCache.empty(4, 16, torch.device("cpu"))
        shape = (4, model.config.num_attention_heads, 16, 8)
        for _ in range(model.config.num_hidden_layers):
            cache.keys.append(torch.zeros(shape))
            cache.values.append(torch.zeros(shape))
        tokens = torch.zeros(4, dtype=torch.long)
        assert sampler._step(cache, tokens, 8).shape == (4, model.config.vocab_size)
