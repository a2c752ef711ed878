"""What a device does in a second: measured by `rlhf calibrate`, or from a maker's public figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from rlhf_service.errors import StorageError
from rlhf_service.planning.shape import Family
from rlhf_service.spec.base import Section
from rlhf_service.spec.learner import Precision
from rlhf_service.storage import write_atomically

FORMAT = 1
"""Of the profile's file; another number is measured anew."""

FILE = "device-profile.json"
"""Its name in the control plane's folder."""
GPU_FILE = "gpu-profile.json"
"""The same of a GPU."""
MEASURED = "measured"
"""Source of a profile that `rlhf calibrate` wrote."""

Loss = Literal["language", "policy"]
"""Cross-entropy of tokens; or log-probs with the entropy of each distribution."""


class LayerCost(Section):
    """One layer of a network, its matrix products left out."""

    per_call: float = Field(ge=0)
    """Seconds, however few the tokens."""
    per_byte: float = Field(ge=0)
    """Seconds for each byte that the forward pass keeps."""


class NetworkCost(Section):
    """Networks of one family."""

    forward: LayerCost
    backward: LayerCost
    decode: float = Field(ge=0)
    """Seconds of one layer for one more token of one row."""


class LossCost(Section):
    """Seconds for each logit."""

    forward: float = Field(ge=0)
    backward: float = Field(ge=0)


class EngineCost(Section):
    """What DeepSpeed adds at one ZeRO stage."""

    per_tensor: float = Field(ge=0)
    """Seconds for each parameter tensor that learns: its hooks in one forward and backward pass."""
    per_parameter: float = Field(default=0.0, ge=0)
    """Seconds for each parameter that learns: copies of its gradient in such a pass."""
    step_per_tensor: float = Field(ge=0)
    """Seconds for each in an optimiser step."""
    step_per_parameter: float = Field(ge=0)
    """Seconds for each parameter that this rank steps; of an exchange, for each of the network."""


class Arithmetic(Section):
    """One precision with one number of threads."""

    matmul: tuple[tuple[float, float], ...] = Field(min_length=1)
    """(n, floating-point operations a second) of an n × n × n product, n rising."""
    matmul_backward: tuple[tuple[float, float], ...] = ()
    """The same of the products that a backward pass makes, whose operands lie otherwise; as forward when
    empty."""
    matmul_rows: dict[int, tuple[tuple[float, float], ...]] = Field(default_factory=dict)
    """By rows m, (n, operations a second) of m × n × n products: what a decoding step makes, whose few
    rows pay for laying out a whole matrix. Empty where they cost what cubes of as many operations do."""
    networks: dict[Family, NetworkCost]
    losses: dict[Loss, LossCost]
    engines: dict[str, EngineCost]
    """By ZeRO stage."""
    exchanges: dict[str, EngineCost] = Field(default_factory=dict)
    """By ZeRO stage: what each of two ranks takes beyond that; empty where it was not measured."""
    decode_call: float = Field(ge=0)
    """Seconds of one decoding step outside the layers."""
    draw: float = Field(ge=0)
    """Seconds to draw from one logit."""

    def product(self, m: float, k: float, n: float) -> float:
        """Seconds of an m × k by k × n product."""
        return product_seconds(self.matmul, m, k, n)

    def product_backward(self, m: float, k: float, n: float) -> float:
        """Seconds of one of the two products that lead back through an m × k by k × n product."""
        return product_seconds(self.matmul_backward or self.matmul, m, k, n)

    def product_of_rows(self, rows: float, k: float, n: float) -> float:
        """Seconds of a rows × k by k × n product in a decoding step."""
        known = sorted(self.matmul_rows)
        if not known or rows > known[-1]:
            return self.product(rows, k, n)
        side = math.sqrt(k * n)
        rates = [(float(m), between(self.matmul_rows[m], side)) for m in known]
        return 2 * rows * k * n / between(rates, rows)

    def rate(self, size: float) -> float:
        """Operations a second of products with that side."""
        return between(self.matmul, size)


def product_seconds(curve: Sequence[tuple[float, float]], m: float, k: float, n: float) -> float:
    """Of an m × k by k × n product, as one of cubes with as many operations."""
    return 2 * m * k * n / between(curve, (m * k * n) ** (1 / 3))


def between(points: Sequence[tuple[float, float]], size: float) -> float:
    """Between the points measured, in proportion on a logarithmic scale."""
    if size <= points[0][0]:
        return points[0][1]
    for (a, low), (b, high) in pairwise(points):
        if size <= b:
            share = math.log(size / a) / math.log(b / a)
            return math.exp(math.log(low) * (1 - share) + math.log(high) * share)
    return points[-1][1]


Role = Literal["driver", "learner", "rollout", "reward", "weights"]
Process = Literal[Role, "scorer"]
"""A role's; `scorer` is a reward actor that has loaded what networks need, which rules do without."""


class DeviceProfile(Section):
    """A device and the process around it. Seconds, bytes, and floating-point operations."""

    format: int = FORMAT
    name: str
    kind: Literal["cpu", "cuda"]
    source: str
    """`measured`, or where the figures are published."""
    measured_at: str | None = None
    memory: int = Field(gt=0)
    """Bytes: of a GPU; or of the whole machine, which all processes share."""
    cores: int = Field(default=1, ge=1)
    bandwidth: float = Field(gt=0)
    """Bytes copied in a second, read and written counted as one."""
    link: float | None = Field(default=None, gt=0)
    """Bytes a second of an all-reduce between two ranks; null when unknown."""
    network: float | None = Field(default=None, gt=0)
    """The same between machines, when it is slower; null where there is one machine."""
    per_machine: int = Field(default=8, ge=1)
    """Devices that `link` joins."""
    store: float | None = Field(default=None, gt=0)
    """Bytes a second into or out of Ray's object store."""
    digest: float | None = Field(default=None, gt=0)
    """Bytes a second of the digest that every published tensor gets."""
    baseline: dict[Process, int]
    """Bytes of a process before it has any network: its imports; of a GPU: its context."""
    threads: dict[int, dict[Precision, Arithmetic]]
    """By torch threads; a GPU has one entry, under 1."""

    @property
    def measured(self) -> bool:
        """Whether the figures are the machine's own."""
        return self.source == MEASURED

    def arithmetic(self, precision: Precision, threads: int) -> Arithmetic | None:
        """With the most threads measured that are no more than asked for; None for a precision that was
        not measured."""
        known = [n for n in sorted(self.threads) if n <= threads] or sorted(self.threads)[:1]
        return self.threads[known[-1]].get(precision) if known else None


def write_profile(profile: DeviceProfile, path: Path) -> None:
    """Raises StorageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, profile.model_dump_json(indent=1))
    except OSError as fault:
        raise StorageError(f"{path} cannot be written: {fault.strerror}") from None


def read_profile(path: Path) -> DeviceProfile | None:
    """None when there is none. Raises StorageError for a file that is no profile."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as fault:
        raise StorageError(f"device profile {path} cannot be read: {fault}") from None
    try:
        found = DeviceProfile.model_validate_json(text)
    except ValidationError:
        raise StorageError(
            f"{path} is no device profile of this version; run `rlhf calibrate` again"
        ) from None
    if found.format != FORMAT:
        raise StorageError(
            f"{path} has format {found.format}, not {FORMAT}; run `rlhf calibrate` again"
        )
    return found


def baseline_of(profile: DeviceProfile, process: Process) -> int | None:
    """Bytes of such a process without a network, when measured."""
    found: Mapping[Process, int] = profile.baseline
    return found.get(process)
