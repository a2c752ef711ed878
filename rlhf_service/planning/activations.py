"""What a forward pass keeps for the backward pass, as torch's autograd saves it.

Attention runs through `scaled_dot_product_attention`, which keeps no score matrix, but for short bf16
rows on CPUs; rows with padding keep one mask a layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_service.planning.shape import Shape
from rlhf_service.spec.adapter import LoraSpec

FP32 = 4
BF16 = 2
WHOLE_SCORES = 512
"""Longest bf16 rows whose scores are kept on CPUs (`BY_PRODUCTS` of models/ragged.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One microbatch through a network, as a rank sees it."""

    rows: int
    length: int
    """Tokens of a row, padding included."""
    predicted: int
    """Tokens whose logits are computed, over all rows; 0 for networks with a scalar head."""
    learnt: int
    """Of those, the ones with a loss."""
    masked: bool = True
    """Some row is padded."""

    @property
    def tokens(self) -> int:
        return self.rows * self.length


def saved_bytes(shape: Shape, one: Pass, element: int, lora: LoraSpec | None) -> float:
    """Of the network without its output matrix; `element` bytes a number."""
    layer = LAYERS[shape.family](shape, element, lora)
    if one.masked and shape.family != "lstm":
        layer += element * one.length
    if lora is not None:
        layer += element * lora.rank * len(shape.adapted(lora))
    return one.tokens * (shape.layers * layer + _norm(shape, element, lora))


def score_bytes(shape: Shape, one: Pass, element: int) -> float:
    """Of the scores that a pass over packed rows keeps on a CPU."""
    by_products = shape.family in ("llama", "gpt2") and element == BF16 and not one.masked
    if not by_products or one.length > WHOLE_SCORES:
        return 0.0
    return float(element * shape.layers * shape.heads * one.tokens * one.length)


def _llama(shape: Shape, element: int, lora: LoraSpec | None) -> float:
    """Bytes of one token in one layer: two norms; queries, keys, values and what attention made of
    them; both halves of the gate, its activation and their product."""
    query, key = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    wide = 2 * query + 2 * key + 4 * shape.inner
    return 2 * _rms(shape, element, lora) + element * wide + FP32 * (shape.heads + 2)


def _gpt2(shape: Shape, element: int, lora: LoraSpec | None) -> float:
    """Two norms of two; queries, keys, values, attention; GELU by its tanh formula keeps five."""
    return element * (8 * shape.width + 5 * shape.inner) + FP32 * (shape.heads + 4)


def _lstm(shape: Shape, element: int, lora: LoraSpec | None) -> float:
    """The inputs, and what oneDNN's kernel lays aside: gates and states, some of them in fp32 (as found
    with it)."""
    return shape.width * (10 * element + 6.5 * FP32)


def _encoder(shape: Shape, element: int, lora: LoraSpec | None) -> float:
    """As GPT-2, with GELU in one piece."""
    return element * (8 * shape.width + 2 * shape.inner) + FP32 * (shape.heads + 4)


def _norm(shape: Shape, element: int, lora: LoraSpec | None) -> float:
    """The norm behind the last layer."""
    if shape.family == "llama":
        return _rms(shape, element, lora)
    return 2 * element * shape.width if shape.final else 0


def _rms(shape: Shape, element: int, lora: LoraSpec | None) -> float:
    """Bytes of one token: the input in fp32, it normalised (for the weight's gradient), the output."""
    return shape.width * (FP32 + element + (0 if lora else element))


LAYERS = {"llama": _llama, "gpt2": _gpt2, "lstm": _lstm, "encoder": _encoder}
