"""Take a kept step again, offline: the same networks, responses and scores, the same update."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf_service.errors import RlhfError, StorageError
from rlhf_service.learner.backend import BACKENDS
from rlhf_service.manifest import MANIFEST
from rlhf_service.recording import REPORT, Offline, Recording, read_recording, recording
from rlhf_service.reports import PpoReport, deterministic_part
from rlhf_service.spec.job import JobSpec
from rlhf_service.spec.stages import PpoStage
from rlhf_service.storage import JobFolder


@dataclass(frozen=True, slots=True)
class Replayed:
    """A step's report as it was, and as it is again."""

    stage: str
    step: int
    before: PpoReport
    again: PpoReport

    def differences(self) -> dict[str, tuple[object, object]]:
        """Figures that are not the same to the last bit."""
        one, two = deterministic_part(self.before), deterministic_part(self.again)
        return {name: (one[name], two[name]) for name in one if one[name] != two[name]}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A kept step in its job's folder."""

    folder: Path

    @property
    def job(self) -> JobFolder:
        return JobFolder(self.folder.parent.parent)

    def manifest(self) -> Mapping[str, Any]:
        """Stage, step and ranks. Raises StorageError."""
        found: Mapping[str, Any] = self._json(MANIFEST)
        return found

    def report(self) -> PpoReport:
        return PpoReport.model_validate(self._json(REPORT))

    def spec(self) -> JobSpec:
        try:
            return JobSpec.model_validate_json(self.job.spec.read_bytes())
        except OSError:
            raise StorageError(
                f"{self.folder} is not in its job's folder ({self.job.spec} is missing); give "
                "<job folder>/bundles/<stage>-step-<number>"
            ) from None

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise StorageError(
                f"{self.folder} holds no kept step (no whole {name}); give a folder below the "
                "`bundles` of a job whose stage has keep_steps"
            ) from None


def replay(folder: Path) -> Replayed:
    """Take the step in `folder` again, one process for each rank. Raises RlhfError."""
    from torch.multiprocessing.spawn import ProcessException, spawn

    bundle = Bundle(folder.resolve())
    manifest, before = bundle.manifest(), bundle.report()
    bundle.spec()
    with tempfile.TemporaryDirectory(prefix="rlhf-replay-") as place:
        out = Path(place)
        try:
            spawn(rank_main, (bundle.folder, manifest["ranks"], out), nprocs=manifest["ranks"])
        except ProcessException as fault:
            last = str(fault).strip().splitlines()[-1]
            raise RlhfError(f"the step could not be taken again: {last}") from None
        again = PpoReport.model_validate_json((out / REPORT).read_bytes())
    return Replayed(str(manifest["stage"]), int(manifest["step"]), before, again)


def rank_main(rank: int, folder: Path, ranks: int, out: Path) -> None:
    """One rank's part, in a process of its own."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    bundle = Bundle(folder)
    spec = bundle.spec()
    on_cpu = not spec.resources.on_gpu
    if on_cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ.setdefault("LOCAL_RANK", str(rank))
    import torch
    import torch.distributed as dist

    torch.set_num_threads(spec.resources.learner.num_threads)
    if not on_cpu:
        torch.cuda.set_device(rank)
    dist.init_process_group(
        BACKENDS["cpu" if on_cpu else "cuda"],
        init_method=f"file://{out}/rendezvous",
        rank=rank,
        world_size=ranks,
    )
    try:
        report = take_again(bundle, spec, torch.device("cpu" if on_cpu else f"cuda:{rank}"))
        if rank == 0:
            (out / REPORT).write_text(report.model_dump_json(), encoding="utf-8")
        dist.barrier()
    finally:
        dist.destroy_process_group()


def take_again(bundle: Bundle, spec: JobSpec, device: Any) -> PpoReport:
    """The step on this rank. Needs torch.distributed to be initialised. Collective."""
    from rlhf_service.data.rows import read_prompts
    from rlhf_service.learner.checkpoint import CheckpointFolder
    from rlhf_service.learner.deepspeed import DeepSpeedEngines
    from rlhf_service.learner.group import TorchGroup
    from rlhf_service.manifest import Checkpoint
    from rlhf_service.stages.assembly import build_learner, build_run
    from rlhf_service.stages.context import StageContext
    from rlhf_service.stages.start import start
    from rlhf_service.step import PpoState, ppo_step

    group = TorchGroup(device)
    manifest = bundle.manifest()
    checkpoint = Checkpoint(bundle.folder, manifest["stage"], manifest["step"])
    [(index, stage)] = [
        (i, s)
        for i, s in enumerate(spec.stages)
        if s.name == checkpoint.stage and isinstance(s, PpoStage)
    ]
    field = f"stages[{index}]"
    offline = Offline(Recording(read_recording(recording(bundle.folder, group.rank))))
    context = StageContext(
        spec=spec,
        folder=bundle.job,
        group=group,
        device=device,
        engines=DeepSpeedEngines(spec.learner, device),
        pools=offline,
        checkpoints=CheckpointFolder(bundle.job.checkpoints, spec.checkpoint.keep, group),
        sink=offline,
        reported={},
        progress=lambda stage, step: None,
    )
    rows = read_prompts(stage.prompts, f"{field}.prompts.path")
    begun = start(context, stage, lambda: (row.prompt for row in rows))
    learner = build_learner(context, stage, begun)
    learner.load(bundle.folder)
    run = build_run(context, stage, field, begun, learner, bundle.folder)
    try:
        return ppo_step(run, PpoState.restored(checkpoint.state())).report
    finally:
        run.source.close()  # what was to be drawn for later steps is in no recording
