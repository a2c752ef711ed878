"""GPUs by their makers' public figures, and the profile assumed of each.

Shares of those figures that were measured were measured on one H100 (SXM, 80 GB); that others reach the
same is assumed. `rlhf calibrate --device cuda` measures the GPU that there is.

Sources, dense figures without sparsity: NVIDIA's data sheets of A100, H100, H200, DGX B200, L4, L40S,
A10 (the A10G of AWS: its instance page), T4 and the Ada GPU architecture paper (RTX 4090); AMD's data
sheet of the Instinct MI300X.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_service.planning.device import (
    Arithmetic,
    DeviceProfile,
    EngineCost,
    LayerCost,
    LossCost,
    NetworkCost,
)
from rlhf_service.planning.shape import Family

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """Public figures."""

    name: str
    memory: float
    """GB, as printed."""
    bandwidth: float
    """GB/s."""
    bf16: float
    """TFLOP/s, dense tensor cores with bf16 (fp16 on the T4, which lacks bf16)."""
    fp32: float
    """TFLOP/s, without tensor cores: torch's default for fp32 products."""
    link: float
    """GB/s one way to another GPU of the machine: NVLink or Infinity Fabric, else PCIe."""


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("A100-40GB", 40, 1555, 312, 19.5, 300),
        Gpu("A100-80GB", 80, 2039, 312, 19.5, 300),
        Gpu("H100", 80, 3350, 989, 67, 450),
        Gpu("H200", 141, 4800, 989, 67, 450),
        Gpu("B200", 180, 8000, 2250, 75, 900),
        Gpu("L4", 24, 300, 121, 30.3, 32),
        Gpu("L40S", 48, 864, 362, 91.6, 32),
        Gpu("A10G", 24, 600, 70, 31.5, 32),
        Gpu("T4", 16, 300, 65, 8.1, 16),
        Gpu("RTX-4090", 24, 1008, 165, 82.6, 32),
        Gpu("MI300X", 192, 5300, 1307, 163.4, 448),
    )
}

PRODUCTS = ((128.0, 0.1), (512.0, 0.4), (2048.0, 0.7), (8192.0, 0.7))
"""Share of the peak that products of that size reach, measured in bf16: those of 128 and 512 many at
once.
"""
MOVED = 0.89
"""Share of the bandwidth, measured by copies."""
NETWORK = 50e9
"""Assumed bytes a second of one GPU to other machines: 400 Gbit/s each, eight GPUs a machine."""
REDUCED = 0.7
"""Assumed share of the link in an all-reduce."""
CALL = 12e-6
"""Seconds to launch one kernel: with KERNELS 0.5 ms for a layer's forward pass, of which 0.4 to 1.0 ms
were measured.
"""
PLAYED = 2e-6
"""Assumed seconds of one kernel of a decoding step, which is recorded."""
KERNELS = 40
"""Kernels of one layer's forward pass."""
STORE = 2.5e9
"""Bytes a second through the object store, measured on that GPU's host."""
CONTEXT = 750_000_000
"""Bytes of a CUDA context with its libraries, on each GPU for each process, measured."""
UPDATE_BYTES = 60
"""Bytes moved for each parameter of an Adam step that is not fused."""

FAMILIES: tuple[Family, ...] = ("llama", "gpt2", "lstm", "encoder")


def gpu_profile(name: str) -> DeviceProfile:
    """What is assumed of a GPU of the catalogue."""
    gpu = GPUS[name]
    moved = MOVED * gpu.bandwidth * 1e9
    arithmetic = {
        "fp32": _arithmetic(gpu.fp32 * 1e12, moved),
        "bf16": _arithmetic(gpu.bf16 * 1e12, moved),
    }
    return DeviceProfile.model_validate(
        {
            "name": gpu.name,
            "kind": "cuda",
            "source": "public figures, and efficiencies of one H100",
            "memory": int(gpu.memory * 1e9),
            "bandwidth": moved / 2,
            "link": REDUCED * gpu.link * 1e9,
            "network": REDUCED * NETWORK,
            "store": STORE,
            "digest": moved / 2,
            "baseline": dict.fromkeys(("learner", "rollout", "reward", "scorer"), CONTEXT),
            "threads": {1: arithmetic},
        }
    )


def _arithmetic(peak: float, moved: float) -> Arithmetic:
    layer = KERNELS * CALL
    network = NetworkCost(
        forward=LayerCost(per_call=layer, per_byte=3 / moved),
        backward=LayerCost(per_call=2 * layer, per_byte=5 / moved),
        decode=KERNELS * PLAYED,
    )
    engine = EngineCost(
        per_tensor=4 * CALL, step_per_tensor=4 * CALL, step_per_parameter=UPDATE_BYTES / moved
    )
    loss = LossCost(forward=24 / moved, backward=24 / moved)
    return Arithmetic(
        matmul=tuple((size, share * peak) for size, share in PRODUCTS),
        networks=dict.fromkeys(FAMILIES, network),
        losses={"language": loss, "policy": loss},
        engines={str(zero): engine for zero in range(4)},
        decode_call=80 * CALL,
        draw=40 / moved,
    )
