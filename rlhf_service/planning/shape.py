"""A network's shape: what its parameters, arithmetic and caches follow from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlhf_service.spec.adapter import LoraSpec

Family = Literal["llama", "gpt2", "lstm", "encoder"]
"""Networks of one family keep the same things for the backward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """One matrix."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs

    @property
    def parameters(self) -> int:
        return self.weights + (self.outputs if self.bias else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A decoder, an LSTM or an encoder."""

    family: Family
    model_type: str
    """What config.json calls it."""
    layers: int
    width: int
    """Of the residual stream."""
    inner: int
    """Width inside a block's feed-forward part."""
    heads: int
    kv_heads: int
    head_size: int
    vocab: int
    context: int | None
    """Most tokens of a row, when the network says."""
    block: tuple[Linear, ...]
    """Matrices of one layer."""
    block_vectors: int
    """Other parameters of one layer: norms."""
    embeddings: int
    """Parameters of the inputs: tokens, positions, and their norm."""
    final: int
    """Vectors behind the last layer: its norm."""
    pooler: Linear | None = None
    """An encoder's, which its classifier reads."""
    tied: bool = True
    """The output matrix is the token embedding."""
    head_bias: bool = False

    @property
    def trunk(self) -> int:
        """Parameters without any head."""
        pooler = self.pooler.parameters if self.pooler else 0
        return self.embeddings + self.layers * self.layer + self.final + pooler

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        return sum(matrix.parameters for matrix in self.block) + self.block_vectors

    @property
    def causal(self) -> int:
        """Parameters as a causal language model."""
        bias = self.vocab if self.head_bias else 0
        return self.trunk + bias + (0 if self.tied else self.vocab * self.width)

    @property
    def scorer(self) -> int:
        """Parameters as a reward model with one label."""
        return self.trunk + self.width + (1 if self.family == "encoder" else 0)

    @property
    def value(self) -> int:
        """Parameters as a critic."""
        return self.trunk + self.width

    @property
    def matrices(self) -> int:
        """Weights that every token is multiplied with, the output matrix left out."""
        return self.layers * sum(matrix.weights for matrix in self.block)

    @property
    def tensors(self) -> int:
        """Parameter tensors, roughly: what costs a call each."""
        return self.layers * (2 * len(self.block) + 2) + 4

    def adapted(self, lora: LoraSpec) -> tuple[Linear, ...]:
        """Matrices of one layer under an adapter. An LSTM has none that take one."""
        if self.family == "lstm":
            return ()
        wanted = lora.targets
        return tuple(m for m in self.block if wanted is None or m.name in wanted)

    def adapter(self, lora: LoraSpec) -> int:
        """Parameters of an adapter on every layer."""
        each = sum(lora.rank * (m.inputs + m.outputs) for m in self.adapted(lora))
        pooled = self.pooler if lora.targets is None else None
        return self.layers * each + (lora.rank * (pooled.inputs + pooled.outputs) if pooled else 0)

    def forward_flops(self, tokens: float, mean_context: float, predicted: float) -> float:
        """Floating-point operations of a pass over `tokens` tokens that see `mean_context` others
        on average; the output matrix is applied to `predicted` of them.
        """
        attention = 4 * self.layers * self.heads * self.head_size * mean_context
        return tokens * (2 * self.matrices + attention) + 2 * self.vocab * self.width * predicted

    def cache_bytes(self, tokens: float, rows: float, element: int) -> float:
        """What generation keeps of `rows` sequences with `tokens` tokens together."""
        if self.family == "lstm":
            return 2 * self.layers * self.width * rows * element
        return 2 * self.layers * self.kv_heads * self.head_size * tokens * element
