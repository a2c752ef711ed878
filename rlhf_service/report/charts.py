"""Charts as inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.figure import Figure

from rlhf_service.report.collect import Series, StageReport

SIZE = (4.2, 2.4)
"""Inches."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture."""

    title: str
    svg: str


LINES: Mapping[str, Sequence[tuple[str, Sequence[str]]]] = {
    "ppo": (
        ("reward", ("score_mean",)),
        ("KL to the reference, nats a response", ("kl",)),
        ("entropy, nats a token", ("entropy",)),
        ("response length, tokens", ("response_length_mean",)),
        ("seconds a step", ("seconds.total", "seconds.generate", "seconds.update")),
    ),
    "supervised": (("loss, nats a token", ("loss", "validation_loss")),),
    "preference": (
        ("loss", ("loss",)),
        ("accuracy", ("accuracy", "validation_accuracy")),
    ),
}
"""Kind of report → titles, and the series of each chart."""


def charts_of(stage: StageReport) -> list[Chart]:
    """A stage's charts; none for a stage without steps."""
    kind = (
        "ppo"
        if "score_mean" in stage.series
        else "preference"
        if "accuracy" in stage.series
        else "supervised"
    )
    found = []
    for title, names in LINES[kind]:
        lines = {name: stage.series[name] for name in names if name in stage.series}
        if lines:
            found.append(Chart(title, draw_lines(lines)))
    if kind == "ppo" and stage.steps:
        reward, kl = stage.series["score_mean"], stage.series["kl"]
        found.insert(2, Chart("reward by KL", draw_curve(kl.values, reward.values)))
    return found


def draw_lines(lines: Mapping[str, Series]) -> str:
    """Series over the steps."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    for name, line in lines.items():
        marker = "o" if len(line.steps) == 1 else None
        axes.plot(line.steps, line.values, label=name, linewidth=1.2, marker=marker)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(fontsize="small")
    return to_svg(figure)


def draw_curve(x: Sequence[float], y: Sequence[float]) -> str:
    """Reward bought for KL (Gao et al. 2022), a point for each step, later ones darker."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(x, y, s=12, c=range(len(x)), cmap="Blues", vmin=-len(x) / 2)
    axes.set_xlabel("KL to the reference, nats a response")
    axes.set_ylabel("reward")
    axes.grid(alpha=0.3)
    return to_svg(figure)


def to_svg(figure: Figure) -> str:
    """The figure's <svg> element, the same bytes for the same figure."""
    out = io.StringIO()
    with rc_context({"svg.hashsalt": "report", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", out.getvalue(), count=1, flags=re.DOTALL)
