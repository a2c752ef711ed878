"""The learner group: Ray Train workers, each a rank that runs every stage of the job."""

from __future__ import annotations

import logging
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.growth import growth_seconds
from cluster.outcome import REPEATS, Outcome, record_fault
from cluster.placement import group_size, has_slots, learner_bundle, slot
from cluster.replay import next_life, reported_steps
from rlhf_service.errors import RoleStalled, TrainingError, UserError
from rlhf_service.events import Log, Recovered
from rlhf_service.job import StopReason
from rlhf_service.learner.backend import BACKENDS
from rlhf_service.spec.job import JobSpec
from rlhf_service.storage import JobFolder
from rlhf_service.tracing.base import Tracer
from rlhf_service.tracing.build import tracer_of_process
from rlhf_service.vitals import Entered, ignore

log = logging.getLogger(__name__)

COLLECTIVE_SECONDS = 900
"""A rank that waits longer for the others gives up; the group then restarts."""

START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
"""Ray Train's variable: what a group may wait for its room."""
RECOUNT_SECONDS = "25"
"""What an elastic group waits for room before it counts again what fits: Ray looks every 20 s which
machines there are, and may have counted one that was just lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerAssignment:
    """What the driver gives every rank."""

    spec: JobSpec
    folder: Path
    attempt: int
    traceparent: str = ""
    """The driver's span."""


def run_learners(assignment: LearnerAssignment) -> None:
    """Run the learner group to its end; Ray Train restarts it when a rank dies."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    from cluster.ranks import RanksConfig

    spec = assignment.spec
    if spec.resources.learner.elastic:  # it asks only for what was counted, so nodes need not come
        os.environ[START_TIMEOUT] = RECOUNT_SECONDS
    elif growth := growth_seconds(os.environ):
        # Otherwise Ray Train takes its request back after a minute, and asks for the room anew.
        os.environ.setdefault(START_TIMEOUT, f"{growth:g}")
    on_gpu = spec.resources.on_gpu
    trainer = DataParallelTrainer(
        learner_loop,
        train_loop_config={"assignment": assignment},
        backend_config=RanksConfig(BACKENDS["cuda" if on_gpu else "cpu"], COLLECTIVE_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=group_size(spec.resources.learner),
            elastic_resize_monitor_interval_s=spec.recovery.resize_interval,
            use_gpu=on_gpu,
            resources_per_worker=learner_bundle(spec.resources.learner)
            | slot("learner", has_slots(os.environ)),
        ),
        run_config=RunConfig(
            name=f"{assignment.folder.name}-a{assignment.attempt}",
            storage_path=str(assignment.folder / "ray_train"),
            failure_config=FailureConfig(max_failures=spec.recovery.max_restarts),
        ),
    )
    trainer.fit()


def learner_loop(config: dict[str, Any]) -> None:
    """One rank's life. Known failures become the attempt's outcome; unknown ones restart the group."""
    assignment: LearnerAssignment = config["assignment"]
    folder, attempt = JobFolder(assignment.folder), assignment.attempt
    if Outcome.read(folder, attempt) is not None:
        return  # a rank failed for good and the group was restarted before the driver saw it
    place = Place(assignment.spec.checkpoint.every)
    tracer = tracer_of_process("rlhf-learner")
    try:
        with tracer.span("learner", assignment.traceparent, attempt=attempt) as span:
            outcome = _run(assignment, place, tracer)
            span.note(outcome=outcome.reason, place=str(place))
    except (UserError, TrainingError) as fault:
        outcome = Outcome(fault.reason, str(fault))
    except Exception as fault:
        count = record_fault(folder, str(place), repr(fault))
        if count < REPEATS:
            raise
        reason = fault.reason if isinstance(fault, RoleStalled) else StopReason.INTERNAL_ERROR
        last = traceback.format_exc(limit=-1).strip().splitlines()[-1]
        outcome = Outcome(reason, f"failed {count} times in a row at {place}: {last}")
    finally:
        tracer.close()
    outcome.write(folder, attempt)


class Place:
    """Where the run is: for fault records, and for Ray Train's page."""

    def __init__(self, report_every: int) -> None:
        self.stage, self.step = "start", 0
        self._report_every = report_every
        self._reached: Entered = ignore

    def __str__(self) -> str:
        return f"{self.stage} step {self.step}"

    def listen(self, reached: Entered) -> None:
        """Have each place told."""
        self._reached = reached

    def reach(self, stage: str, step: int) -> None:
        self.stage, self.step = stage, step
        self._reached(f"after {self}")
        # A report waits until the controller has taken the one before, so not every step makes one.
        if step % self._report_every == 0:
            import ray.train

            ray.train.report({"stage": stage, "step": step})


def _run(assignment: LearnerAssignment, place: Place, tracer: Tracer) -> Outcome:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    spec, folder = assignment.spec, JobFolder(assignment.folder)
    if not spec.resources.on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    # After the environment is set: DeepSpeed reads it when imported.
    import torch

    from cluster.meters import MeteredSink, RayMeters
    from cluster.peaks import measured
    from cluster.pools import RayPools
    from cluster.signs import vitals_of_process
    from cluster.sinks import JsonlSink
    from rlhf_service.learner.checkpoint import CheckpointFolder
    from rlhf_service.learner.compiled import forget_abandoned_locks
    from rlhf_service.learner.deepspeed import DeepSpeedEngines
    from rlhf_service.learner.group import TorchGroup
    from rlhf_service.stages.context import StageContext, StopRequested
    from rlhf_service.stages.pipeline import run_pipeline
    from rlhf_service.tracking.build import build_tracker
    from rlhf_service.tracking.sink import TrackedSink
    from rlhf_service.vitals import forget_signs

    for lock in forget_abandoned_locks():
        log.warning("a compiler that was killed left %s; removed", lock)
    torch.set_num_threads(spec.resources.learner.num_threads)
    torch.manual_seed(spec.seed)
    device = torch.device("cpu")
    if spec.resources.on_gpu:
        device = torch.device("cuda", torch.cuda.current_device())
    group = TorchGroup(device)
    kinds = sorted(spec.trackers) if group.rank == 0 else []
    life = 0
    if group.rank == 0:
        life = next_life(folder, assignment.attempt)
        forget_signs(folder.vitals(assignment.attempt), "learner")
    life = group.broadcast(life)
    producer = f"a{assignment.attempt}-learner-{life}-{group.rank}"
    job = assignment.folder.name
    role = "learner" if group.size == 1 else f"learner-{group.rank}"
    vitals = vitals_of_process(folder.vitals(assignment.attempt), role)
    place.listen(vitals.enter)
    trackers = [build_tracker(kind, folder.tracking, job, spec.name) for kind in kinds]
    own = JsonlSink(folder, job, assignment.attempt, producer)
    metered = MeteredSink(own, RayMeters(job, "learner", group.rank))
    sink = TrackedSink(metered, dict(zip(kinds, trackers, strict=True)))
    context = StageContext(
        spec=spec,
        folder=folder,
        group=group,
        device=device,
        engines=DeepSpeedEngines(spec.learner, device),
        pools=RayPools(job=job, spec=spec, emit=sink.emit, tracer=tracer),
        checkpoints=CheckpointFolder(folder.checkpoints, spec.checkpoint.keep, group),
        sink=sink,
        reported=group.broadcast(reported_steps(folder) if group.rank == 0 else {}),
        progress=place.reach,
        entered=lambda phase: vitals.enter(f"{phase}, {place}"),
    )
    ranks = f"{group.size} of {spec.resources.learner.num_workers} ranks"
    if life > 1:
        message = f"the learner group restarted with {ranks}"
        context.emit(Recovered(role="learner", message=message))
    elif group.size < spec.resources.learner.num_workers:
        context.emit(Log(message=f"the learner group begins with {ranks}"))
    try:
        run_pipeline(context)
    except StopRequested as stopped:
        return Outcome(StopReason.CANCELLED_BY_USER, str(stopped))
    finally:
        own.emit(measured("learner", group.rank))
        sink.close()
        vitals.close()
    return Outcome(StopReason.COMPLETED)
