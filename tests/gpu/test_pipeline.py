"""SFT, reward model and PPO on a GPU: the figures of every step are those of the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlhf_service.learner.checkpoint import CheckpointFolder
from rlhf_service.learner.deepspeed import DeepSpeedEngines
from rlhf_service.learner.group import TorchGroup
from rlhf_service.spec import JobSpec, LearnerSpec
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.testing import LocalPools
from tests.small import pipeline_of, stage_context, write_corpus

pytestmark = pytest.mark.gpu

COMPARED = ("score_mean", "kl", "entropy", "policy_loss", "value_loss", "policy_grad_norm")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    return pipeline_of(write_corpus(tmp_path_factory.mktemp("corpus")))


def on_the_gpu(spec: JobSpec, root: Path, device: torch.device) -> StageContext:
    group = TorchGroup(device)
    context = stage_context(
        spec,
        root,
        device=device,
        group=group,
        engines=DeepSpeedEngines(spec.learner, device),
        pools=LocalPools(precision=spec.learner.precision, device="cuda"),
        checkpoints=CheckpointFolder(root / "checkpoints", spec.checkpoint.keep, group),
    )
    run_pipeline(context)
    return context


def figures(context: StageContext) -> list[dict[str, float]]:
    """Of each step: its loss, or PPO's."""
    found = []
    for event in context.sink.events:  # type: ignore[attr-defined]
        report = getattr(event, "report", None)
        if report is None:
            continue
        names = COMPARED if report.kind == "ppo" else ("loss",)
        found.append({name: getattr(report, name) for name in names if hasattr(report, name)})
    return found


def test_every_step_reports_what_the_cpu_reports(
    device: torch.device, spec: JobSpec, tmp_path: Path
) -> None:
    here = stage_context(spec, tmp_path / "cpu")
    run_pipeline(here)
    there = on_the_gpu(spec, tmp_path / "gpu", device)
    wanted = figures(here)
    assert len(wanted) == 11
    for found, expected in zip(figures(there), wanted, strict=True):
        assert found == pytest.approx(expected, rel=2e-3, abs=2e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bf16"},
        {"precision": "bf16", "zero_stage": 2, "micro_batch_tokens": 64},
        {"zero_stage": 3, "layout": "padded"},
    ],
    ids=lambda settings: ", ".join(map(str, settings.values())),
)
def test_other_ways_to_train_end_with_a_model(
    device: torch.device, spec: JobSpec, tmp_path: Path, settings: dict[str, object]
) -> None:
    changed = spec.model_copy(update={"learner": LearnerSpec.model_validate(settings)})
    context = on_the_gpu(changed, tmp_path, device)
    assert len(figures(context)) == 11
    assert (context.folder.model / "model.safetensors").is_file()
