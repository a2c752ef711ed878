"""VllmEngine beside TransformersEngine: the same network, prompts and sampling."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from rlhf_service.errors import EngineUnavailable, WeightsCorrupt, WeightsUnavailable
from rlhf_service.models.build import scratch_config
from rlhf_service.models.digest import digests
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.ports import WeightSnapshot
from rlhf_service.records import FinishReason, Prompt
from rlhf_service.rollout.build import build_engine, build_served
from rlhf_service.spec import SamplingSpec, ScratchModel, VllmEngineSpec
from rlhf_service.spec.served import ARCHITECTURES

TOKENIZER = train_tokenizer(["a good film", "a bad film"], 300)
SETTINGS = VllmEngineSpec(cache_gib=0.1, max_sequences=8)
SHAPE = {"hidden_size": 64, "num_layers": 2, "num_heads": 2, "context_length": 64}
IDS = tuple(TOKENIZER.encode("a good film"))
PROMPTS = [
    Prompt(position=i, sample=j, row=i, text="", token_ids=IDS[: i + 1])
    for i in range(len(IDS))
    for j in range(3)
]
SAMPLED = SamplingSpec(max_new_tokens=24, temperature=0.7)
GREEDY = SamplingSpec(max_new_tokens=24, greedy=True)


def relative(kind: type[PreTrainedConfig]) -> PreTrainedConfig:
    return kind(
        vocab_size=len(TOKENIZER),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=64,
        eos_token_id=TOKENIZER.eos_token_id,
        bos_token_id=TOKENIZER.bos_token_id,
    )


CONFIGS = {
    "GPT2LMHeadModel": scratch_config(ScratchModel(architecture="gpt2", **SHAPE), TOKENIZER),
    "LlamaForCausalLM": scratch_config(ScratchModel(architecture="llama", **SHAPE), TOKENIZER),
    "MistralForCausalLM": relative(MistralConfig),
    "Qwen2ForCausalLM": relative(Qwen2Config),
    "Qwen3ForCausalLM": relative(Qwen3Config),
}


def published(config: PreTrainedConfig, version: int, seed: int) -> WeightSnapshot:
    """Weights far enough from uniform for greedy tokens to be clear."""
    torch.manual_seed(seed)
    state = AutoModelForCausalLM.from_config(config).state_dict()
    tensors = {name: 3 * t.clone() if t.dim() > 1 else t.clone() for name, t in state.items()}
    return WeightSnapshot(version, digests(tensors), tensors)


def folder_of(config: PreTrainedConfig, folder: Path) -> Path:
    config.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def both(config: PreTrainedConfig, folder: Path, precision: Any = "fp32") -> tuple[Any, Any]:
    folder_of(config, folder)
    theirs = build_served(SETTINGS, folder, precision, "cpu", 1)
    return theirs, build_engine(folder, precision, "cpu")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """vLLM's and ours, on the same small Llama."""
    yield both(CONFIGS["LlamaForCausalLM"], tmp_path_factory.mktemp("llama"))
    gc.collect()


def served(engines: Sequence[Any], version: int, seed: int) -> tuple[Any, Any]:
    snapshot = published(CONFIGS["LlamaForCausalLM"], version, seed)
    for engine in engines:
        engine.load_weights(snapshot)
    return engines[0], engines[1]


def assert_agree(theirs: Any, ours: Any, version: int, tolerance: float) -> None:
    """Greedy tokens are equal, and every log-prob of the chosen tokens."""
    found = theirs.generate(PROMPTS, GREEDY, version=version, seed=1)
    expected = ours.generate(PROMPTS, GREEDY, version=version, seed=1)
    for one, other in zip(found, expected, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=tolerance)
        assert (one.text, one.finish_reason) == (other.text, other.finish_reason)
        assert (one.prompt, one.policy_version) == (other.prompt, version)


def test_greedy_responses_are_those_of_our_engine(engines):
    theirs, ours = served(engines, 1, 0)
    assert_agree(theirs, ours, 1, 1e-4)


def test_logprobs_are_of_the_softmax_at_the_sampling_temperature(engines, tmp_path):
    theirs, _ = served(engines, 1, 0)
    network = AutoModelForCausalLM.from_config(CONFIGS["LlamaForCausalLM"]).eval()
    network.load_state_dict(dict(published(CONFIGS["LlamaForCausalLM"], 1, 0).tensors))
    for rollout in theirs.generate(PROMPTS, SAMPLED, version=1, seed=3):
        asked, drawn = rollout.prompt.token_ids, list(rollout.token_ids)
        with torch.no_grad():
            logits = network(torch.tensor([[*asked, *drawn]])).logits[0, len(asked) - 1 : -1]
        logprobs = torch.log_softmax(logits / SAMPLED.temperature, dim=-1)
        wanted = logprobs[torch.arange(len(drawn)), torch.tensor(drawn)]
        assert rollout.logprobs == pytest.approx(wanted.tolist(), abs=1e-4)


def test_weights_change_in_place_and_back(engines):
    theirs, ours = served(engines, 1, 0)
    before = theirs.generate(PROMPTS, GREEDY, version=1, seed=1)
    served(engines, 2, 1)
    assert_agree(theirs, ours, 2, 1e-4)
    after = theirs.generate(PROMPTS, GREEDY, version=2, seed=1)
    assert [r.token_ids for r in after] != [r.token_ids for r in before]
    served(engines, 3, 0)
    again = theirs.generate(PROMPTS, GREEDY, version=3, seed=1)
    assert [r.token_ids for r in again] == [r.token_ids for r in before]


def test_corrupt_or_missing_tensors_are_refused_and_nothing_serves_until_whole_ones_came(engines):
    theirs, _ = served(engines, 1, 0)
    whole = published(CONFIGS["LlamaForCausalLM"], 2, 1)
    name = "model.layers.1.mlp.up_proj.weight"
    changed = dict(whole.tensors) | {name: whole.tensors[name] + 1e-3}
    lacking = {n: t for n, t in whole.tensors.items() if n != name}
    for tensors in (changed, lacking):
        with pytest.raises(WeightsCorrupt, match=name):
            theirs.load_weights(WeightSnapshot(2, whole.digests, tensors))
        for version in (1, 2):
            with pytest.raises(WeightsUnavailable, match="serves version None"):
                theirs.generate(PROMPTS, GREEDY, version=version, seed=1)
    theirs.load_weights(whole)
    assert theirs.generate(PROMPTS, GREEDY, version=2, seed=1)


def test_a_response_depends_on_its_own_seed_alone(engines):
    theirs, _ = served(engines, 1, 0)
    first = theirs.generate(PROMPTS, SAMPLED, version=1, seed=7)
    tokens = [r.token_ids for r in first]
    assert [r.token_ids for r in theirs.generate(PROMPTS, SAMPLED, version=1, seed=7)] == tokens
    backwards = theirs.generate(PROMPTS[::-1], SAMPLED, version=1, seed=7)
    assert [r.token_ids for r in backwards[::-1]] == tokens
    alone = theirs.generate(PROMPTS[4:5], SAMPLED, version=1, seed=7)
    assert alone[0].token_ids == tokens[4]
    assert len({tokens[0], tokens[1], tokens[2]}) == 3  # samples of one prompt
    assert [r.token_ids for r in theirs.generate(PROMPTS, SAMPLED, version=1, seed=8)] != tokens


def test_responses_end_with_the_end_token_or_at_the_limit(engines):
    theirs, _ = served(engines, 1, 0)
    many = [Prompt(position=i, sample=0, row=0, text="", token_ids=IDS) for i in range(100)]
    found = theirs.generate(many, SAMPLED, version=1, seed=0)
    assert {r.finish_reason for r in found} == {FinishReason.EOS, FinishReason.LENGTH}
    for rollout in found:
        ended = rollout.token_ids[-1] == TOKENIZER.eos_token_id
        assert ended == (rollout.finish_reason is FinishReason.EOS)
        assert TOKENIZER.eos_token_id not in rollout.token_ids[:-1]
        assert ended or len(rollout.token_ids) == SAMPLED.max_new_tokens
    assert all(rollout.seconds > 0 for rollout in found)
    assert len({rollout.seconds for rollout in found}) > 2  # they end when they end


def test_what_cannot_be_held_is_refused(engines):
    theirs, _ = served(engines, 1, 0)
    with pytest.raises(EngineUnavailable, match=r"rollout\.engine\.max_length"):
        theirs.generate(PROMPTS, SamplingSpec(max_new_tokens=64), version=1, seed=0)


def test_settings_that_vllm_refuses_name_the_field(tmp_path):
    folder = folder_of(CONFIGS["LlamaForCausalLM"], tmp_path)
    with pytest.raises(EngineUnavailable, match=r"rollout\.engine: vLLM does not start"):
        build_served(VllmEngineSpec(cache_gib=1e-6), folder, "fp32", "cpu", 1)


def test_every_architecture_that_is_let_in_has_a_network_here():
    assert CONFIGS.keys() == ARCHITECTURES


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - {"LlamaForCausalLM"}))
def test_each_architecture_takes_new_weights(name, tmp_path):
    theirs, ours = both(CONFIGS[name], tmp_path)
    for version, seed in ((1, 0), (2, 1)):
        snapshot = published(CONFIGS[name], version, seed)
        for engine in (theirs, ours):
            engine.load_weights(snapshot)
        assert_agree(theirs, ours, version, 1e-4)


def test_bf16_agrees_within_its_rounding(tmp_path):
    config = CONFIGS["LlamaForCausalLM"]
    theirs, ours = both(config, tmp_path, "bf16")
    whole = published(config, 1, 0)
    tensors = {name: tensor.bfloat16() for name, tensor in whole.tensors.items()}
    for engine in (theirs, ours):
        engine.load_weights(WeightSnapshot(1, digests(tensors), tensors))
    found = theirs.generate(PROMPTS, GREEDY, version=1, seed=1)
    expected = ours.generate(PROMPTS, GREEDY, version=1, seed=1)
    firsts = [(a.token_ids[0], b.token_ids[0]) for a, b in zip(found, expected, strict=True)]
    same = [
        (a, b) for a, b in zip(found, expected, strict=True) if a.token_ids[0] == b.token_ids[0]
    ]
    assert len(same) >= len(firsts) // 2
    for one, other in same:
        assert one.logprobs[0] == pytest.approx(other.logprobs[0], abs=0.05)
