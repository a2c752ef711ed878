"""A job's stages on one DeepSpeed rank, for tests/integration/test_let_go.py. In a process of its own:
DeepSpeed remembers the first group of a process for good."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from rlhf_service.events import Event, StageCompleted, StepCompleted
from rlhf_service.learner.checkpoint import CheckpointFolder
from rlhf_service.learner.deepspeed import DeepSpeedEngines
from rlhf_service.learner.group import TorchGroup
from rlhf_service.models.digest import digests
from rlhf_service.spec import JobSpec, LearnerSpec
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.testing import ListSink
from tests.small import stage_context

CPU = torch.device("cpu")
FIGURES = {"loss", "grad_norm", "score_mean", "kl", "policy_grad_norm", "value_loss", "entropy"}
"""Of a step, by which two ways to train can be told apart."""


class Weighing(ListSink):
    """Weighs all tensors of the process whenever a stage is over."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[int] = []

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, StageCompleted):
            self.held.append(tensor_bytes())


def tensor_bytes() -> int:
    """Of every tensor that is alive."""
    tensors = [one for one in gc.get_objects() if isinstance(one, torch.Tensor)]
    stored = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(stored.values())


def reports(sink: ListSink) -> list[dict[str, float]]:
    """Figures of every step."""
    steps = [event.report for event in sink.events if isinstance(event, StepCompleted)]
    return [{n: v for n, v in report.model_dump().items() if n in FIGURES} for report in steps]


def main(spec: JobSpec, zero: int, folder: Path) -> dict[str, Any]:
    """Runs the job at one ZeRO stage."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=0, world_size=1)
    group = TorchGroup(CPU)
    engines = DeepSpeedEngines(LearnerSpec(zero_stage=zero), CPU)
    digests({"": torch.zeros(1)})  # what they are worked out with is kept for good
    sink, before = Weighing(), tensor_bytes()
    checkpoints = CheckpointFolder(folder / "job" / "checkpoints", 2, group)
    parts = {"group": group, "engines": engines, "sink": sink, "checkpoints": checkpoints}
    run_pipeline(stage_context(spec, folder / "job", **parts))
    dist.destroy_process_group()
    left = [held - before for held in sink.held]
    return {"left": left, "reports": reports(sink)}


if __name__ == "__main__":
    given, stage, place = sys.argv[1:]
    found = main(JobSpec.model_validate_json(given), int(stage), Path(place))
    Path(place, "found.json").write_text(json.dumps(found))
