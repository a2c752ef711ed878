"""Alerts as Prometheus itself judges them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.helm.chart import CHART

ALERTS = CHART / "files" / "alerts.yaml"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def measured(expression: str) -> str:
    """What an alert's expression compares, without the comparison."""
    absent = re.fullmatch(r"absent\((.+)\)", expression)
    return absent[1] if absent else re.sub(r" [<>] [0-9.]+$", "", expression)


def promtool(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program is not None
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=120, cwd=cwd
    )
