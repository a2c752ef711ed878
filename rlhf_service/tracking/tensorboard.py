"""TensorBoard event files in the job's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from tensorboardX import SummaryWriter


class TensorBoard:
    """One curve for each figure, named `stage/figure`."""

    def __init__(self, folder: Path) -> None:
        # File names end in the second they were made; a quick restart must not write over the old one.
        self._writer = SummaryWriter(str(folder), filename_suffix=f".{uuid4().hex[:8]}")

    def figures(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)
        self._writer.flush()

    def text(self, stage: str, step: int, name: str, text: str) -> None:
        self._writer.add_text(f"{stage}/{name}", text, step)

    def close(self) -> None:
        self._writer.close()
