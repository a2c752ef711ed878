"""VllmEngine over a fake vLLM: what it asks of it, in which order. The real one: tests/vllm."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlhf_service.errors import EngineUnavailable, WeightsCorrupt, WeightsUnavailable
from rlhf_service.models.digest import digests
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.ports import WeightSnapshot
from rlhf_service.records import FinishReason, Prompt
from rlhf_service.rollout.build import build_served
from rlhf_service.rollout.memory import Kept, Shared
from rlhf_service.rollout.vllm import VllmEngine, stream_of
from rlhf_service.spec import SamplingSpec, VllmEngineSpec

TOKENIZER = train_tokenizer(["a good film"], 300)
END = TOKENIZER.eos_token_id
PROMPT = Prompt(position=3, sample=1, row=3, text="", token_ids=(5, 6))


class FakeLlm:
    """Answers every prompt with two tokens and remembers what it was asked."""

    def __init__(self, last: int) -> None:
        self.calls: list[str] = []
        self.asked: list[Any] = []
        self.held: dict[str, torch.Tensor] = {}
        self.fails = False
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=16))
        self._tokens = [9, last]

    def collective_rpc(self, method: str, args: tuple[Any, ...]) -> None:
        self.calls.append(method)
        if self.fails:
            raise RuntimeError("no such parameter")
        self.held = dict(args[0])

    def reset_prefix_cache(self) -> None:
        self.calls.append("reset_prefix_cache")

    def sleep(self, level: int) -> None:
        self.calls.append(f"sleep {level}")

    def wake_up(self) -> None:
        self.calls.append("wake_up")

    def generate(self, prompts: list[Any], params: list[Any], use_tqdm: bool) -> list[Any]:
        self.calls.append("generate")
        self.asked += zip(prompts, params, strict=True)
        logprobs = [{t: SimpleNamespace(logprob=-0.5 * t)} for t in self._tokens]
        answer = SimpleNamespace(token_ids=self._tokens, logprobs=logprobs)
        times = SimpleNamespace(queued_ts=100.0, last_token_ts=102.5)
        return [SimpleNamespace(outputs=[answer], metrics=times) for _ in prompts]


@pytest.fixture(autouse=True)
def fake_vllm(monkeypatch):
    """In place of the package."""
    module = SimpleNamespace(SamplingParams=SimpleNamespace, TokensPrompt=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vllm", module)


def snapshot(version: int = 1) -> WeightSnapshot:
    tensors = {"a": torch.full((2,), float(version)), "b": torch.zeros(3)}
    return WeightSnapshot(version, digests(tensors), tensors)


def engine_of(llm: FakeLlm, shared: bool = False) -> VllmEngine:
    memory = Shared(llm) if shared else Kept()
    names = frozenset({"a", "b"})
    return VllmEngine(llm, TOKENIZER, eos=frozenset({END}), names=names, memory=memory)


def test_it_asks_for_tokens_by_the_requests_own_seed_and_for_no_text():
    llm = FakeLlm(last=END)
    engine = engine_of(llm)
    engine.load_weights(snapshot())
    sampling = SamplingSpec(max_new_tokens=4, temperature=0.7)
    [rollout] = engine.generate([PROMPT], sampling, version=1, seed=2)
    [(prompt, params)] = llm.asked
    assert prompt.prompt_token_ids == [5, 6]
    assert (params.temperature, params.max_tokens, params.stop_token_ids) == (0.7, 4, [END])
    assert (params.seed, params.detokenize) == (stream_of(2, PROMPT), False)
    assert (rollout.token_ids, rollout.logprobs) == ((9, END), (-4.5, -0.5 * END))
    assert (rollout.finish_reason, rollout.policy_version) == (FinishReason.EOS, 1)
    assert rollout.seconds == 2.5
    greedy = SamplingSpec(max_new_tokens=4, greedy=True)
    engine.generate([PROMPT], greedy, version=1, seed=2)
    assert llm.asked[-1][1].temperature == 0
    assert engine.generate([], sampling, version=1, seed=2) == []


def test_a_response_cut_at_the_limit_is_said_to_be():
    engine = engine_of(FakeLlm(last=7))
    engine.load_weights(snapshot())
    [rollout] = engine.generate([PROMPT], SamplingSpec(max_new_tokens=2), version=1, seed=0)
    assert rollout.truncated


def test_streams_differ_by_seed_position_and_sample():
    asked = [(s, p, n) for s in range(3) for p in range(12) for n in range(12)]
    seeds = {
        stream_of(s, Prompt(position=p, sample=n, row=0, text="", token_ids=(1,)))
        for s, p, n in asked
    }
    assert len(seeds) == len(asked)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("fault", ["changed", "missing", "refused"])
def test_nothing_serves_after_a_version_that_was_not_taken_over(fault):
    llm = FakeLlm(last=END)
    engine = engine_of(llm)
    engine.load_weights(snapshot())
    bad = snapshot(2)
    llm.fails = fault == "refused"
    if fault == "changed":
        bad = WeightSnapshot(2, bad.digests, dict(bad.tensors) | {"a": torch.zeros(2)})
    if fault == "missing":
        bad = WeightSnapshot(2, bad.digests, {"a": bad.tensors["a"]})
    with pytest.raises(WeightsCorrupt, match="version 2"):
        engine.load_weights(bad)
    if fault != "refused":
        assert float(llm.held["a"][0]) == 1  # not even touched
    with pytest.raises(WeightsUnavailable, match="serves version None"):
        engine.generate([PROMPT], SamplingSpec(max_new_tokens=4), version=1, seed=0)
    llm.fails = False
    engine.load_weights(snapshot(2))
    assert engine.generate([PROMPT], SamplingSpec(max_new_tokens=4), version=2, seed=0)


def test_a_prompt_too_long_with_its_response_is_refused():
    engine = engine_of(FakeLlm(last=END))
    engine.load_weights(snapshot())
    with pytest.raises(EngineUnavailable, match=r"max_length.*18 tokens"):
        engine.generate([PROMPT], SamplingSpec(max_new_tokens=16), version=1, seed=0)


def test_colocated_it_sleeps_whenever_it_does_not_draw():
    llm = FakeLlm(last=END)
    engine = engine_of(llm, shared=True)
    sampling = SamplingSpec(max_new_tokens=4)
    for version in (1, 2):
        engine.load_weights(snapshot(version))
        engine.generate([PROMPT], sampling, version=version, seed=0)
    engine.generate([PROMPT], sampling, version=2, seed=1)  # an evaluation of the same weights
    drawn = ["generate", "reset_prefix_cache", "sleep 1"]
    loaded = ["take_over", "reset_prefix_cache"]
    assert llm.calls == [*loaded, *drawn, "wake_up", *loaded, *drawn, "wake_up", *drawn]


def test_without_the_package_the_operators_variable_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr(
        os, "environ", dict(os.environ)
    )  # what it sets there is not for other tests
    with pytest.raises(EngineUnavailable, match="RLHF_VLLM_PYTHON") as refused:
        build_served(VllmEngineSpec(), tmp_path, "fp32", "cpu", 1)
    assert refused.value.field == "rollout.engine"
