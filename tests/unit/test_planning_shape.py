"""The planner's arithmetic of a network against the networks themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
)

from rlhf_service.models.adapter import adapt
from rlhf_service.models.build import scratch_config
from rlhf_service.models.heads import ValueModel
from rlhf_service.planning.architectures import UnknownShape, scratch_shape, shape_of
from rlhf_service.spec.adapter import LoraSpec
from rlhf_service.spec.model import ScratchModel

EVERY = settings(max_examples=40, deadline=None)


class Words:
    """A tokenizer, as far as `scratch_config` asks."""

    bos_token_id, eos_token_id, pad_token_id = 0, 1, 2

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def counted(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(auto, config: PreTrainedConfig) -> torch.nn.Module:
    with torch.device("meta"):
        return auto.from_config(config)


@st.composite
def scratch_models(draw):
    heads = draw(st.integers(1, 4))
    return ScratchModel(
        architecture=draw(st.sampled_from(["gpt2", "llama", "lstm"])),
        hidden_size=heads * 2 * draw(st.integers(4, 16)),
        num_layers=draw(st.integers(1, 3)),
        num_heads=heads,
        context_length=draw(st.integers(8, 64)),
        vocab_size=draw(st.integers(300, 600)),
    )


@EVERY
@given(spec=scratch_models())
def test_a_scratch_network_has_the_parameters_counted(spec):
    config = scratch_config(spec, Words(spec.vocab_size))
    network = on_meta(AutoModelForCausalLM, config)
    shape = scratch_shape(spec)
    assert shape.causal == counted(network)
    assert shape.value == counted(ValueModel(on_meta(AutoModel, config)))
    config.num_labels = 1
    assert shape.scorer == counted(on_meta(AutoModelForSequenceClassification, config))
    assert shape_of(config.to_dict()).causal == shape.causal


def described(kind: str, draw) -> PreTrainedConfig:
    heads = draw(st.sampled_from([2, 4]))
    width = heads * draw(st.sampled_from([4, 8]))
    sizes: dict[str, object] = {
        "hidden_size": width,
        "intermediate_size": draw(st.integers(5, 40)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "vocab_size": draw(st.integers(20, 90)),
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 1),
    }
    if kind in ("bert", "roberta"):
        return AutoConfig.for_model(kind, **sizes, max_position_embeddings=32)
    sizes |= {
        "num_key_value_heads": draw(st.sampled_from([1, 2])),
        "tie_word_embeddings": draw(st.booleans()),
        "head_dim": draw(st.sampled_from([4, 8])),
    }
    if kind in ("llama", "qwen3"):
        sizes["attention_bias"] = draw(st.booleans())
    return AutoConfig.for_model(kind, **sizes)


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_published_decoder_has_the_parameters_counted(kind, data):
    config = described(kind, data.draw)
    shape = shape_of(config.to_dict())
    assert shape.causal == counted(on_meta(AutoModelForCausalLM, config))
    # What a folder holds: defaults are left out of it.
    assert shape_of(config.to_diff_dict() | {"model_type": kind}) == shape


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_an_encoder_has_the_parameters_counted(kind, data):
    config = described(kind, data.draw)
    trunk = on_meta(AutoModel, config)
    if kind == "roberta":  # its pooler stays out of the classifier
        trunk.pooler = None
    assert shape_of(config.to_dict()).trunk == counted(trunk)


@EVERY
@given(spec=scratch_models().filter(lambda s: s.architecture != "lstm"), rank=st.integers(1, 9))
def test_an_adapter_has_the_parameters_counted(spec, rank, tmp_path_factory):
    config = scratch_config(spec, Words(spec.vocab_size))
    folder = tmp_path_factory.getbasetemp()
    lora = LoraSpec(rank=rank)
    adapted = adapt(AutoModelForCausalLM.from_config(config), lora, 0, folder)
    learnt = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert scratch_shape(spec).adapter(lora) == learnt


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("length", [8, 32])
def test_a_forward_pass_takes_the_operations_counted(architecture, length):
    spec = ScratchModel(
        architecture=architecture, hidden_size=32, num_layers=2, num_heads=2, vocab_size=300
    )
    config = scratch_config(spec, Words(spec.vocab_size))
    config._attn_implementation = "eager"  # which multiplies the masked half too
    network = AutoModelForCausalLM.from_config(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(input_ids=torch.zeros(3, length, dtype=torch.long), use_cache=False)
    found = scratch_shape(spec).forward_flops(3 * length, length, 3 * length)
    # Rotary angles are a matrix product too.
    assert found == pytest.approx(counter.get_total_flops(), rel=0.005)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "lstm"])
def test_a_cache_holds_the_bytes_counted(architecture):
    spec = ScratchModel(
        architecture=architecture, hidden_size=32, num_layers=2, num_heads=2, vocab_size=300
    )
    network = AutoModelForCausalLM.from_config(scratch_config(spec, Words(300)))
    cache = network(input_ids=torch.zeros(3, 10, dtype=torch.long), use_cache=True).past_key_values
    if architecture == "lstm":
        held = [cache.hidden, cache.cell]
    else:
        held = [t for layer in cache.layers for t in (layer.keys, layer.values)]
    assert scratch_shape(spec).cache_bytes(30, 3, 4) == sum(t.nbytes for t in held)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "mamba"}, "'mamba' is not known"),
        ({"model_type": "llama", "hidden_size": 8}, "intermediate_size"),
        ({"model_type": "gpt2", "n_embd": "wide", "n_layer": 1, "n_head": 1}, "makes no sense"),
        (
            {"model_type": "rlhf_lstm", "hidden_size": 0, "num_hidden_layers": 1, "vocab_size": 9},
            "below",
        ),
        ({}, "not known"),
    ],
)
def test_an_unknown_network_is_said_to_be(config, says):
    with pytest.raises(UnknownShape, match=says):
        shape_of(config)
