"""Trackers get what was reported, once; one that fails costs the job nothing."""

from __future__ import annotations

import sqlite3
import struct
import sys

import pytest
from tensorboardX.proto.event_pb2 import Event as TensorBoardEvent

from rlhf_service.errors import SpecError
from rlhf_service.events import EvaluationCompleted, Log, Sample, SamplesDrawn, StepCompleted
from rlhf_service.reports import SupervisedReport
from rlhf_service.testing import ListSink
from rlhf_service.tracking.build import build_tracker
from rlhf_service.tracking.sink import TrackedSink


def step(number: int, loss: float, *, replayed: bool = False) -> StepCompleted:
    report = SupervisedReport(
        loss=loss, tokens=5, grad_norm=1, learning_rate=0.1, seconds=1, tokens_per_second=5
    )
    return StepCompleted(stage="sft", step=number, steps=3, report=report, replayed=replayed)


EVALUATED = EvaluationCompleted(stage="ppo", step=0, mean=0.25, standard_error=0.1, n=4)
SAMPLED = SamplesDrawn(
    stage="ppo", step=1, samples=(Sample(prompt="<b>a</b>", response="good", score=0.5),)
)


def feed(kind: str, folder, *events) -> ListSink:
    """What a learner's life does with its trackers."""
    inner = ListSink()
    sink = TrackedSink(inner, {kind: build_tracker(kind, folder, "job-1", "mine")})
    for event in events:
        sink.emit(event)
    sink.close()
    return inner


def scalars(folder) -> dict[tuple[str, int], float]:
    """Every scalar of the TensorBoard files in `folder`."""
    found = {}
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = TensorBoardEvent.FromString(data[at + 12 : at + 12 + length])
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found[value.tag, event.step] = value.simple_value
            at += 16 + length
    return found


def test_tensorboard_has_every_figure_of_every_step(tmp_path):
    passed = feed("tensorboard", tmp_path, step(1, 3.0), step(2, 2.5), EVALUATED, SAMPLED)
    feed("tensorboard", tmp_path, step(2, 9.0, replayed=True), step(3, 2.0))
    found = scalars(tmp_path / "tensorboard")
    losses = {number: value for (tag, number), value in found.items() if tag == "sft/loss"}
    assert losses == {1: 3.0, 2: 2.5, 3: 2.0}
    assert found["ppo/held_out/reward", 0] == 0.25
    assert not [e for e in passed.events if isinstance(e, Log)]


def test_mlflow_goes_on_with_one_run(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    passed = feed("mlflow", tmp_path, step(1, 3.0), SAMPLED)
    feed("mlflow", tmp_path, step(2, 2.5), EVALUATED)
    assert not [e for e in passed.events if isinstance(e, Log)]
    with sqlite3.connect(tmp_path / "mlflow" / "mlflow.db") as store:
        runs = store.execute("select name, status from runs").fetchall()
        metrics = dict(
            ((key, number), value)
            for key, number, value in store.execute("select key, step, value from metrics")
        )
    store.close()
    assert runs == [("mine", "FINISHED")]
    assert metrics["sft/loss", 1] == 3.0 and metrics["sft/loss", 2] == 2.5
    assert metrics["ppo/held_out/reward", 0] == 0.25
    [text] = (tmp_path / "mlflow" / "artifacts").rglob("samples-000001.md")
    assert "good" in text.read_text()


def test_wandb_writes_offline(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    passed = feed("wandb", tmp_path, step(1, 3.0), SAMPLED)
    assert not [e for e in passed.events if isinstance(e, Log)]
    [written] = (tmp_path / "wandb").rglob("run-job-1.wandb")
    assert b"sft/loss" in written.read_bytes()


class Failing:
    def figures(self, stage, step, values):
        raise OSError("no space")

    def text(self, stage, step, name, text):
        raise AssertionError("asked again")

    def close(self):
        raise AssertionError("asked again")


def test_a_tracker_that_fails_is_left_out_and_the_job_told_once():
    inner = ListSink()
    sink = TrackedSink(inner, {"mine": Failing()})
    for event in (step(1, 1.0), step(2, 1.0), SAMPLED):
        sink.emit(event)
    sink.close()
    told = [e for e in inner.events if isinstance(e, Log)]
    assert len(told) == 1 and "mine failed" in told[0].message and "no space" in told[0].message
    assert len(inner.events) == 4


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "rlhf_service.tracking.wandb", raising=False)
    with pytest.raises(SpecError, match="wandb is not installed"):
        build_tracker("wandb", tmp_path, "job-1", "mine")
