"""Composition root of a job: one process for each attempt, started by the Ray Jobs API.

    python -m cluster.driver --job FOLDER --attempt N

Creates the pools, runs the learner group, forwards events, and tears everything down.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import ray

from cluster.claim import PoolClaim
from cluster.growth import growth_seconds, waits_for_growth
from cluster.host import PoolHost, namespace_of
from cluster.learners import LearnerAssignment, run_learners
from cluster.lost import lost
from cluster.meters import RayMeters
from cluster.outcome import Outcome
from cluster.peaks import measured
from cluster.placement import has_slots, pools_bundles
from cluster.readings import of_attempt
from cluster.sinks import Forwarder, JsonlSink
from cluster.watchdog import LearnerPost, Post, Pulse, Watchdog
from rlhf_service.artefacts.build import SECONDS_VARIABLE, store_of_process
from rlhf_service.artefacts.mirror import Mirror
from rlhf_service.artefacts.restore import restore
from rlhf_service.events import JobStopped, Log
from rlhf_service.job import StopReason
from rlhf_service.spec.job import JobSpec
from rlhf_service.storage import JobFolder
from rlhf_service.tracing.build import PARENT_VARIABLE, tracer_of_process

log = logging.getLogger("rlhf.driver")

DRAIN_SECONDS = 30
MIRROR_SECONDS = 600
CANCELLED_MIRROR_SECONDS = 10
OUTCOME_GRACE_SECONDS = 3

METERS_SECONDS = 2.0
"""Between two looks at how long the learners have been silent, for Prometheus."""

POLL_SECONDS = "0.25"
"""How often Ray Train looks at its workers; a report or a death waits that long."""

RETRYABLE_END = "the learner group ended without an outcome"


def main() -> int:
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", POLL_SECONDS)
    args = parse_arguments()
    folder = JobFolder(args.job)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(name)s %(message)s",
        handlers=[logging.StreamHandler(), logging.FileHandler(folder.driver_log(args.attempt))],
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every batch of events
    go_on(folder, args.attempt)
    spec = JobSpec.model_validate_json(folder.spec.read_text(encoding="utf-8"))
    signal.signal(signal.SIGTERM, stopper(folder, args.attempt))
    sink = JsonlSink(folder, args.job.name, args.attempt, producer(args.attempt))
    tracer = tracer_of_process("rlhf-driver")
    with forwarding(folder, args.attempt):
        mirror = mirroring(folder, sink)
        parent = os.environ.get(PARENT_VARIABLE)
        with tracer.span("attempt", parent, job=folder.root.name, attempt=args.attempt) as span:
            stopped = drive(spec, folder, args.attempt, sink, span.traceparent)
            span.note(reason=stopped.reason)
        last_word(stopped, sink, mirror)
    tracer.close()
    log.info("attempt %d ended: %s %s", args.attempt, stopped.reason, stopped.message)
    return 0 if stopped.reason is StopReason.COMPLETED else 1


def mirroring(folder: JobFolder, sink: JsonlSink) -> Mirror | None:
    """Bring back what the folder has lost, then keep copies, where the operator wants them."""

    def complain(message: str) -> None:
        sink.emit(Log(level="warning", message=message[:2000]))

    try:
        store = store_of_process()
        if store is None:
            return None
        if came := restore(folder, store):
            sink.emit(Log(message=f"brought back from the copies: {', '.join(came)}"))
    except Exception as fault:
        log.exception("nothing is brought back")
        complain(f"the copies of this job's files cannot be read: {fault}")
        return None
    mirror = Mirror(folder, store, complain)
    mirror.start()
    return mirror


def last_word(stopped: JobStopped, sink: JsonlSink, mirror: Mirror | None) -> None:
    """Say how the attempt ended; then the copies have their time to be completed."""
    sink.emit(stopped)
    if mirror is None:
        return
    seconds = float(os.environ.get(SECONDS_VARIABLE, MIRROR_SECONDS))
    if stopped.reason is StopReason.CANCELLED_BY_USER:  # who cancels or pauses waits for it
        seconds = min(seconds, CANCELLED_MIRROR_SECONDS)
    mirror.close(seconds)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run one attempt of a job on this Ray cluster.")
    parser.add_argument("--job", type=Path, required=True, help="the job's folder")
    parser.add_argument("--attempt", type=int, required=True, help="1 for the first submission")
    return parser.parse_args()


def go_on(folder: JobFolder, attempt: int) -> None:
    """An attempt whose cluster was taken away and given back is not stopped by what stopped it then.

    Who wants it stopped now asks again.
    """
    if not (folder.events / f"{producer(attempt)}.jsonl").exists():
        return
    folder.leaving(attempt).unlink(missing_ok=True)
    shutil.rmtree(folder.vitals(attempt), ignore_errors=True)
    outcome = Outcome.read(folder, attempt)
    if outcome is None or outcome.reason is StopReason.CANCELLED_BY_USER:
        folder.outcome(attempt).unlink(missing_ok=True)
        folder.stop_flag.unlink(missing_ok=True)
        log.info("attempt %d goes on from the newest checkpoint", attempt)


def producer(attempt: int) -> str:
    """The name under which the driver says what it says."""
    return f"a{attempt}-driver"


def stopper(folder: JobFolder, attempt: int):  # type: ignore[no-untyped-def]
    """SIGTERM asks the learners to checkpoint and stop; it does not kill.

    The flag is the folder's: a driver that was left behind must not stop its successor.
    """

    def on_sigterm(signum: int, frame: FrameType | None) -> None:
        if not folder.token(attempt + 1).exists():
            folder.stop_flag.touch()

    return on_sigterm


@contextmanager
def forwarding(folder: JobFolder, attempt: int) -> Iterator[None]:
    """Post the attempt's events while it runs, and what is left at the end."""
    url = os.environ.get("RLHF_EVENTS_URL")
    token_file = os.environ.get("RLHF_EVENTS_TOKEN_FILE")
    if not url or not token_file:
        yield
        return
    token = Path(token_file).read_text(encoding="utf-8").strip()
    forwarder = Forwarder(folder, url, attempt, token)
    forwarder.start()
    try:
        yield
    finally:
        forwarder.drain(DRAIN_SECONDS)
        forwarder.close()


def drive(
    spec: JobSpec, folder: JobFolder, attempt: int, sink: JsonlSink, traceparent: str
) -> JobStopped:
    """Run the attempt. Never raises: what happened is in what it returns."""
    job = folder.root.name
    try:
        ray.init(address="auto", namespace=namespace_of(job), log_to_driver=True)
        if seconds := growth_seconds(os.environ):
            if said := waits_for_growth(spec, ray.cluster_resources(), seconds):
                sink.emit(Log(message=said))
        with PoolHost(spec, job, folder.vitals(attempt)) as host, claim(spec, job):
            assignment = LearnerAssignment(
                spec=spec, folder=folder.root, attempt=attempt, traceparent=traceparent
            )
            stopped = watch(assignment, folder, sink, host.posts())
            for found in (*host.peaks(), measured("driver")):
                sink.emit(found)
            return stopped
    except Exception as fault:
        log.exception("the driver failed")
        return JobStopped(reason=StopReason.INTERNAL_ERROR, message=repr(fault), retryable=True)
    finally:
        ray.shutdown()


def claim(spec: JobSpec, job: str) -> AbstractContextManager[object]:
    """The pools' room, kept out of what an elastic group may grow into."""
    if not (spec.needs_pools and spec.resources.learner.elastic):
        return nullcontext()
    return PoolClaim(job, pools_bundles(spec.resources, has_slots(os.environ)))


def watch(
    assignment: LearnerAssignment, folder: JobFolder, sink: JsonlSink, posts: Sequence[Post]
) -> JobStopped:
    """Wait for the learner group to return, or for a rank to leave a final outcome; meanwhile see to
    whoever stalls.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            run_learners(assignment)
        except BaseException as fault:
            raised.append(fault)

    thread = threading.Thread(target=run, name="learners", daemon=True)
    thread.start()
    settled_at: float | None = None
    pulse = Pulse(folder, assignment.attempt)
    growth = growth_seconds(os.environ)
    learners = LearnerPost(pulse, assignment.spec.recovery.stall_timeout, growth)
    vitals = folder.vitals(assignment.attempt)
    watchdog = Watchdog([*posts, learners], vitals, sink.emit)
    meters, told_at = RayMeters(folder.root.name, "driver", 0), 0.0
    while thread.is_alive():
        thread.join(timeout=0.2)
        if time.monotonic() - told_at > METERS_SECONDS:
            told_at = time.monotonic()
            meters.take(of_attempt(assignment.attempt, pulse.silence()))
        if (end := lost(folder) or watchdog.look()) is not None:
            return end
        if Outcome.read(folder, assignment.attempt) is not None:
            settled_at = settled_at or time.monotonic()
            # The other ranks may be waiting for the one that failed; their work is void.
            if time.monotonic() - settled_at > OUTCOME_GRACE_SECONDS:
                break
    outcome = Outcome.read(folder, assignment.attempt)
    if (end := lost(folder)) is not None:  # whatever the learners made of it
        return end
    if outcome is None:
        why = str(raised[0]).strip().splitlines()[-1] if raised else RETRYABLE_END
        sink.emit(Log(level="error", message=why[:2000]))
        return JobStopped(reason=StopReason.INTERNAL_ERROR, message=why[:2000], retryable=True)
    stopped = outcome.reason is StopReason.CANCELLED_BY_USER
    return JobStopped(reason=outcome.reason, message=outcome.message, retryable=stopped)


if __name__ == "__main__":
    sys.exit(main())
