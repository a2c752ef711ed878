"""Layers of the architectures: what they cost beside their matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM, BertConfig, PreTrainedModel

from rlhf_service.models.build import scratch_config
from rlhf_service.models.ragged import takes_ragged, use_ragged
from rlhf_service.planning.activations import Pass, saved_bytes
from rlhf_service.planning.architectures import shape_of
from rlhf_service.planning.calibration.clock import fastest
from rlhf_service.planning.device import Arithmetic, LayerCost, NetworkCost
from rlhf_service.planning.seconds import Product, layer_products
from rlhf_service.planning.shape import Family, Shape
from rlhf_service.records import Prompt
from rlhf_service.rollout.growing import GrowingSampler
from rlhf_service.rollout.recorded import recorder_on
from rlhf_service.rollout.slots import SlotSampler
from rlhf_service.spec.model import ScratchModel
from rlhf_service.spec.ppo import SamplingSpec

SHALLOW, DEEP = 1, 3
"""What two depths differ by is the layers' own."""

SMALL = Pass(rows=1, length=8, predicted=0, learnt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """Networks and a pass that keep a kind of device busy for longer than it takes to ask."""

    width: int
    heads: int
    context: int
    one: Pass


LARGE = {
    "cpu": Large(
        width=128, heads=4, context=256, one=Pass(rows=8, length=128, predicted=0, learnt=0)
    ),
    "cuda": Large(
        width=512, heads=8, context=512, one=Pass(rows=128, length=512, predicted=0, learnt=0)
    ),
}

DECODED = Large(width=64, heads=4, context=256, one=SMALL)
"""The network of one row that is decoded, whose calls are all that takes time."""

SHORT, LONG = 4, 20
"""Tokens of the responses that are compared."""

FAMILIES: tuple[Family, ...] = ("llama", "gpt2", "lstm", "encoder")


class Words:
    """A tokenizer, as far as a configuration asks."""

    bos_token_id, eos_token_id, pad_token_id = 0, 1, 2

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size


def trunk(
    family: Family, size: Large, layers: int, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """A network of random weights, without a head."""
    return AutoModel.from_config(config_of(family, size, layers)).to(device, dtype)


def config_of(family: Family, size: Large, layers: int) -> Any:
    """A scratch network's, or an encoder's."""
    if family == "encoder":
        return BertConfig(
            num_hidden_layers=layers,
            vocab_size=300,
            hidden_size=size.width,
            intermediate_size=4 * size.width,
            num_attention_heads=size.heads,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    spec = ScratchModel.model_validate(
        {
            "architecture": family,
            "hidden_size": size.width,
            "num_layers": layers,
            "num_heads": size.heads,
            "vocab_size": 300,
            "context_length": size.context,
        }
    )
    words: Any = Words(300)
    return scratch_config(spec, words)


def network_costs(
    dtype: torch.dtype, device: torch.device, bare: Arithmetic
) -> tuple[dict[Family, NetworkCost], float]:
    """Of each family, beside its matrix products; and the seconds of a decoding step outside the
    layers."""
    decodes: dict[Family, tuple[float, float]] = {
        family: decoding(family, dtype, device) for family in FAMILIES if family != "encoder"
    }
    found: dict[Family, NetworkCost] = {}
    for family in FAMILIES:
        layer = decodes.get(family, (0.0, 0.0))[0]
        found[family] = network_cost(family, dtype, device, bare, layer)
    return found, max(0.0, decodes["llama"][1])


def network_cost(
    family: Family, dtype: torch.dtype, device: torch.device, bare: Arithmetic, decode: float
) -> NetworkCost:
    """One layer forward and backward, from two depths and two sizes."""
    size, element = LARGE[device.type], dtype.itemsize
    passes = {"small": SMALL, "large": size.one}
    forwards: dict[str, list[float]] = {name: [] for name in passes}
    boths: dict[str, list[float]] = {name: [] for name in passes}
    shape: Shape | None = None
    for layers in (SHALLOW, DEEP):
        network = trunk(family, size, layers, dtype, device)
        shape = shape_of(network.config.to_dict())
        for name, one in passes.items():
            run = Run(network, one)
            forwards[name].append(fastest(run.forward, device))
            boths[name].append(fastest(run.both, device))
    assert shape is not None
    per_layer = DEEP - SHALLOW
    forward = {n: (t[1] - t[0]) / per_layer for n, t in forwards.items()}
    both = {n: (t[1] - t[0]) / per_layer for n, t in boths.items()}

    def cost(seconds: Mapping[str, float], times: float, product: Product) -> LayerCost:
        """`times` as many products as a forward pass has."""
        extra = {
            name: max(0.0, seconds[name] - times * layer_products(shape, one, product))
            for name, one in passes.items()
        }
        kept = saved_bytes(shape, size.one, element, None) / shape.layers
        return LayerCost(
            per_call=extra["small"], per_byte=max(0.0, extra["large"] - extra["small"]) / kept
        )

    back = {name: max(0.0, both[name] - forward[name]) for name in both}
    return NetworkCost(
        forward=cost(forward, 1, bare.product),
        backward=cost(back, 2, bare.product_backward),
        decode=max(0.0, decode),
    )


class Run:
    """A pass over rows of which one is padded."""

    def __init__(self, network: PreTrainedModel, one: Pass) -> None:
        self._network = network
        self._ids = torch.zeros(one.rows, one.length, dtype=torch.long, device=network.device)
        self._mask = torch.ones_like(self._ids)
        self._mask[0, -1] = 0

    def forward(self) -> torch.Tensor:
        with torch.no_grad():
            return self._run()

    def both(self) -> None:
        torch.autograd.backward(self._run().float().sum())

    def _run(self) -> torch.Tensor:
        found = self._network(input_ids=self._ids, attention_mask=self._mask, use_cache=False)
        hidden: torch.Tensor = found.last_hidden_state
        return hidden


def decoding(family: Family, dtype: torch.dtype, device: torch.device) -> tuple[float, float]:
    """Seconds of a layer for one more token of one row, and of what stands around the layers."""
    seconds = [token_seconds(family, layers, dtype, device) for layers in (SHALLOW, DEEP)]
    layer = (seconds[1] - seconds[0]) / (DEEP - SHALLOW)
    return layer, seconds[0] - SHALLOW * layer


def token_seconds(family: Family, layers: int, dtype: torch.dtype, device: torch.device) -> float:
    """Seconds of one more token, as a rollout engine draws it."""
    network = AutoModelForCausalLM.from_config(config_of(family, DECODED, layers))
    network = network.to(device, dtype).eval()
    never = torch.tensor([], dtype=torch.long, device=device)
    sampler: SlotSampler | GrowingSampler
    if takes_ragged(network):
        use_ragged(network)
        sampler = SlotSampler(network, never, 1, recorder_on(device))
    else:
        sampler = GrowingSampler(network, never, 1)
    prompt = Prompt(position=0, sample=0, row=0, text="", token_ids=(5, 6, 7, 8))

    def answer(length: int) -> float:
        sampling = SamplingSpec(max_new_tokens=length)
        with torch.no_grad():
            return fastest(
                lambda: sampler.sample([prompt], sampling, 0), device, seconds=0.05, least=4
            )

    return (answer(LONG) - answer(SHORT)) / (LONG - SHORT)
