"""Watches a stage's reports: raises an alarm after some steps in a row, clears it after one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypedDict

from rlhf_service.events import AlarmCleared, AlarmRaised
from rlhf_service.health.alarms import ALARMS
from rlhf_service.reports import PpoReport
from rlhf_service.spec.health import HealthSpec
from rlhf_service.spec.stages import PpoStage


class SavedMonitor(TypedDict):
    """A monitor as a checkpoint keeps it."""

    first: dict[str, object] | None
    streaks: dict[str, int]


@dataclass(frozen=True, slots=True)
class Monitor:
    """What was seen so far. Each look gives the next monitor and what to say."""

    stage: PpoStage
    spec: HealthSpec
    first: PpoReport | None = None
    """The stage's first report, against which some figures are measured."""
    streaks: Mapping[str, int] = field(default_factory=dict)
    """Alarm → steps in a row beyond its threshold."""

    def look(
        self, step: int, report: PpoReport
    ) -> tuple[Monitor, list[AlarmRaised | AlarmCleared]]:
        """Take in the report of step `step`."""
        first = self.first or report
        streaks: dict[str, int] = {}
        said: list[AlarmRaised | AlarmCleared] = []
        for alarm in ALARMS:
            threshold = alarm.threshold(self.spec)
            value = alarm.measure(report, first, self.stage)
            before = self.streaks.get(alarm.name, 0)
            if threshold is not None and value is not None and alarm.beyond(value, threshold):
                streaks[alarm.name] = before + 1
                if streaks[alarm.name] == self.spec.patience:
                    said.append(
                        AlarmRaised(
                            stage=self.stage.name,
                            step=step,
                            alarm=alarm.name,
                            value=value,
                            threshold=threshold,
                            advice=alarm.advice,
                        )
                    )
            elif before >= self.spec.patience:
                said.append(AlarmCleared(stage=self.stage.name, step=step, alarm=alarm.name))
        return replace(self, first=first, streaks=streaks), said

    def saved(self) -> SavedMonitor:
        first = None if self.first is None else self.first.model_dump(mode="json")
        return SavedMonitor(first=first, streaks=dict(self.streaks))

    def restored(self, saved: SavedMonitor) -> Monitor:
        """This monitor with what a checkpoint knew."""
        first = saved["first"]
        return replace(
            self,
            first=None if first is None else PpoReport.model_validate(first),
            streaks=dict(saved["streaks"]),
        )
