"""A checkpoint as a plain Hugging Face folder.

`python -m rlhf_service.checkpoint_model <job folder> <checkpoint>` says on its last line, in JSON,
where the folder is, or what is wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rlhf_service.errors import ModelError, RlhfError
from rlhf_service.manifest import Checkpoint, NotValid, read_checkpoint
from rlhf_service.spec import JobSpec
from rlhf_service.spec.model import FolderModel, ModelSpec, ScratchModel
from rlhf_service.spec.stages import DpoStage, RewardStage, StageSpec
from rlhf_service.storage import JobFolder


def checkpoint_model(folder: JobFolder, name: str) -> Path:
    """Write the policy of checkpoint `name`, once; whoever asks again gets the same folder.

    Raises ModelError for a checkpoint that is not whole, or of a stage whose model speaks no text.
    """
    made = folder.checkpoint_model(name)
    if made.is_dir():
        return made
    try:
        checkpoint = read_checkpoint(folder.checkpoints / name)
    except NotValid as fault:
        raise ModelError(f"checkpoint {name}: {fault}") from None
    spec = JobSpec.model_validate_json(folder.spec.read_text(encoding="utf-8"))
    stage = next((stage for stage in spec.stages if stage.name == checkpoint.stage), None)
    if stage is None or isinstance(stage, RewardStage):
        raise ModelError(f"checkpoint {name} is of a stage whose model generates no text")
    export(folder, spec, stage, checkpoint, made)
    return made


def export(
    folder: JobFolder, spec: JobSpec, stage: StageSpec, checkpoint: Checkpoint, made: Path
) -> None:
    # Torch is loaded by whoever exports, not by whoever asks.
    import torch

    from rlhf_service.learner.saved import saved_state
    from rlhf_service.models.adapter import adapt, merge
    from rlhf_service.models.build import build_scratch
    from rlhf_service.models.export import ModelCard, export_model
    from rlhf_service.models.load import load_causal_lm
    from rlhf_service.models.precision import dtype_of
    from rlhf_service.models.tokenizer import load_tokenizer

    kind = "dpo" if isinstance(stage, DpoStage) else "policy"
    learnt = saved_state(checkpoint.path / kind)
    model = spec.start_of(stage)
    source = source_of(folder, model)
    tokenizer = load_tokenizer(tokenizer_folder(folder, spec, stage))
    if isinstance(model, ScratchModel):
        network = build_scratch(model, tokenizer, spec.seed)
    else:
        assert source is not None
        network = load_causal_lm(source, torch.float32)
        if stage.adapter is not None:
            network = merge(adapt(network, stage.adapter, spec.seed, source), learnt)
            learnt = network.state_dict()
    dtype = dtype_of(spec.learner.precision)
    state = {name: tensor.to(dtype) for name, tensor in learnt.items()}
    card = ModelCard(
        job=folder.root.name,
        name=f"{spec.name}, step {checkpoint.step}",
        stage=stage.name,
        stages=tuple(f"{s.name} ({s.type}, {s.steps} steps)" for s in spec.stages),
        seed=spec.seed,
    )
    export_model(made, network, state, tokenizer, card)


def source_of(folder: JobFolder, model: ModelSpec) -> Path | None:
    """Where the stage's network was read; None for one from scratch."""
    if isinstance(model, ScratchModel):
        return None
    return Path(model.path) if isinstance(model, FolderModel) else folder.stage_model(model.stage)


def tokenizer_folder(folder: JobFolder, spec: JobSpec, stage: StageSpec) -> Path:
    """Where the tokenizer of a stage's policy was read."""
    model = spec.start_of(stage)
    if isinstance(model, ScratchModel) and model.tokenizer:
        return Path(model.tokenizer)
    return source_of(folder, model) or folder.tokenizer(stage.name)


def main() -> None:
    try:
        found = checkpoint_model(JobFolder(Path(sys.argv[1])), sys.argv[2])
        answer = {"folder": str(found)}
    except RlhfError as fault:
        answer = {"fault": str(fault)}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
