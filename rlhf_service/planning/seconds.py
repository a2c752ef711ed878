"""Time of passes, optimiser steps, decoding and publishing, from a device's figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rlhf_service.planning.activations import Pass, saved_bytes
from rlhf_service.planning.device import Arithmetic, DeviceProfile, Loss
from rlhf_service.planning.exchange import Handled
from rlhf_service.planning.shape import Shape
from rlhf_service.spec.adapter import LoraSpec

Product = Callable[[float, float, float], float]
"""(m, k, n) → seconds of an m × k by k × n product."""

CACHE_PASSES = 2
"""A decoding step lays the cache out for attention, and reads it."""


def layer_products(shape: Shape, one: Pass, product: Product) -> float:
    """Seconds of one layer's matrix products, attention's among them, forward."""
    matrices = sum(product(one.tokens, m.inputs, m.outputs) for m in shape.block)
    scores = 2 * one.rows * shape.heads * product(one.length, shape.head_size or 1, one.length)
    return matrices + (scores if shape.heads else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One process on a device."""

    profile: DeviceProfile
    arithmetic: Arithmetic
    element: int
    """Bytes of a number."""

    def forward(self, shape: Shape, one: Pass, loss: Loss | None, lora: LoraSpec | None) -> float:
        """Seconds of a pass without gradients."""
        return self._pass(shape, one, loss, lora, backward=False)

    def both(self, shape: Shape, one: Pass, loss: Loss | None, lora: LoraSpec | None) -> float:
        """Seconds of a pass forward and backward."""
        forward = self._pass(shape, one, loss, lora, backward=False)
        return forward + self._pass(shape, one, loss, lora, backward=True)

    def _pass(
        self, shape: Shape, one: Pass, loss: Loss | None, lora: LoraSpec | None, *, backward: bool
    ) -> float:
        own = self.arithmetic.networks[shape.family]
        product = self.arithmetic.product_backward if backward else self.arithmetic.product
        cost = own.backward if backward else own.forward
        kept = saved_bytes(shape, one, self.element, None) / shape.layers
        # Backward each product is made twice: for its inputs and, where they learn, its weights.
        times = 1.0 if not backward or lora is not None else 2.0
        layer = times * layer_products(shape, one, product) + cost.per_call + cost.per_byte * kept
        if lora is not None:
            low = sum(
                product(one.tokens, m.inputs, lora.rank) + product(one.tokens, lora.rank, m.outputs)
                for m in shape.adapted(lora)
            )
            # Its calls are those of as many layers again.
            layer += low * (2 if backward else 1) + cost.per_call
        seconds = shape.layers * layer
        if one.predicted:
            seconds += times * product(one.predicted, shape.width, shape.vocab)
            if loss is not None:
                logit = self.arithmetic.losses[loss]
                each = logit.backward if backward else logit.forward
                seconds += each * one.learnt * shape.vocab
        return seconds

    def hooks(self, zero: int, handled: Handled) -> float:
        """Seconds that the engine adds to a pass forward and backward."""
        cost = self.arithmetic.engines[str(zero)]
        return cost.per_tensor * handled.tensors + cost.per_parameter * handled.parameters

    def step(self, zero: int, handled: Handled, owners: int) -> float:
        """Seconds of an optimiser step of a rank that keeps one of `owners` parts of the parameters."""
        cost = self.arithmetic.engines[str(zero)]
        owned = handled.step_parameters / owners
        return cost.step_per_tensor * handled.step_tensors + cost.step_per_parameter * owned

    def generate(self, shape: Shape, rows: int, prompt: int, new: int, at_once: int) -> float:
        """Seconds in which one actor answers `rows` prompts, each as long as can be, `at_once` of them
        at a time.
        """
        whole, rest = divmod(rows, at_once)
        seconds = whole * self._batch(shape, at_once, prompt, new)
        return seconds + (self._batch(shape, rest, prompt, new) if rest else 0.0)

    def _batch(self, shape: Shape, rows: int, prompt: int, new: int) -> float:
        read = Pass(rows=rows, length=prompt, predicted=rows, learnt=0)
        return self.forward(shape, read, None, None) + sum(
            self._token(shape, rows, prompt + done) for done in _sampled(new)
        ) * new / len(_sampled(new))

    def _token(self, shape: Shape, rows: int, context: int) -> float:
        """Seconds of one more token of every row, `context` behind it."""
        own, arithmetic = self.arithmetic.networks[shape.family], self.arithmetic
        weights = self.element * (shape.matrices + shape.vocab * shape.width)
        products = shape.layers * sum(
            arithmetic.product_of_rows(rows, m.inputs, m.outputs) for m in shape.block
        ) + arithmetic.product_of_rows(rows, shape.width, shape.vocab)
        cache = CACHE_PASSES * shape.cache_bytes(rows * context, rows, self.element)
        moved = cache / self.profile.bandwidth
        attention = rows * context * 4 * shape.layers * shape.heads * shape.head_size
        arithmetic_seconds = products + attention / arithmetic.rate(shape.head_size or 1)
        fixed = shape.layers * own.decode + arithmetic.decode_call
        drawn = arithmetic.draw * rows * shape.vocab
        return fixed + drawn + moved + max(arithmetic_seconds, weights / self.profile.bandwidth)


def _sampled(new: int) -> range:
    """A few places along a response: the cost of a token rises in a straight line."""
    return range(0, new, max(1, new // 4))
