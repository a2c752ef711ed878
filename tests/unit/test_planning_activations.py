"""What the planner says a forward pass keeps, against what autograd keeps."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel, BertConfig

from rlhf_service.models.adapter import adapt
from rlhf_service.models.build import scratch_config
from rlhf_service.planning.activations import Pass, saved_bytes
from rlhf_service.planning.architectures import shape_of
from rlhf_service.planning.memory import Trained, process_parts
from rlhf_service.planning.workload import Work
from rlhf_service.spec import LearnerSpec
from rlhf_service.spec.adapter import LoraSpec
from rlhf_service.spec.model import ScratchModel
from tests.unit.test_planning_shape import Words

ROWS, LENGTH = 4, 48


def network_of(architecture: str, layers: int) -> torch.nn.Module:
    if architecture == "encoder":
        sizes = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 2}
        none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        config = BertConfig(num_hidden_layers=layers, vocab_size=300, **sizes, **none)
        return AutoModel.from_config(config)
    spec = ScratchModel(
        architecture=architecture, hidden_size=64, num_layers=layers, num_heads=2, vocab_size=300
    )
    return AutoModel.from_config(scratch_config(spec, Words(300)))


def kept(network: torch.nn.Module) -> int:
    """Bytes of everything that a pass over padded rows saves, weights left out."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    held: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    mask = torch.ones(ROWS, LENGTH, dtype=torch.long)
    mask[0, -1] = 0
    ids = torch.zeros(ROWS, LENGTH, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = network(input_ids=ids, attention_mask=mask, use_cache=False)
    assert found is not None  # alive until here, and so is what it keeps
    return sum(held.values())


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "lstm", "encoder"])
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_a_layer_keeps_the_bytes_counted(architecture, dtype, adapter, tmp_path):
    if adapter and architecture == "lstm":
        return  # takes none
    lora = LoraSpec(rank=4) if adapter else None
    counted, found = [], []
    for layers in (2, 4):
        network = network_of(architecture, layers)
        config = network.config.to_dict()
        if lora is not None:
            network = adapt(network, lora, 0, tmp_path)
        found.append(kept(network.to(dtype)))
        one = Pass(rows=ROWS, length=LENGTH, predicted=0, learnt=0)
        counted.append(saved_bytes(shape_of(config), one, dtype.itemsize, lora))
    assert counted[1] - counted[0] == pytest.approx(found[1] - found[0], rel=0.03)
    assert counted[1] == pytest.approx(found[1], rel=0.12 if adapter else 0.05)


@pytest.mark.parametrize(
    ("precision", "loss", "length", "masked", "kept"),
    [
        ("bf16", "policy", 32, False, 2 * 2 * 2 * (4 * 32) * 32),
        ("bf16", "policy", 32, True, None),
        ("bf16", "policy", 513, False, None),
        ("bf16", "language", 32, False, None),
        ("fp32", "policy", 32, False, None),
    ],
)
def test_scores_are_counted_where_bf16_rows_are_packed_and_short(
    precision, loss, length, masked, kept
):
    """Other stages, and rows with padding, attend by the fused kernel."""
    shape = shape_of(network_of("llama", 2).config.to_dict())
    one = Pass(rows=4, length=length, predicted=64, learnt=64, masked=masked)
    work = Work(update=one, updates=1, optimizer_steps=1, loss=loss)
    policy = Trained(shape=shape, parameters=shape.causal)
    parts = process_parts(LearnerSpec(precision=precision), 1, work, policy, None)
    assert parts.get("attention's scores") == kept
