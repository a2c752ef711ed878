"""A job as HTML that needs nothing around it. What others wrote is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from rlhf_service.client.live.picture import Picture, StagePicture, figures

if TYPE_CHECKING:
    from rlhf_service.client.records import Job

WIDTH, HEIGHT = 260, 44
MOST_POINTS = 400
COLOURS = {"succeeded": "#17713a", "failed": "#b3261e", "running": "#2f55d4"}
# Colours are read on white and on black: notebooks come in both.
STYLE = (
    "font:14px/1.5 system-ui,sans-serif;border:1px solid #8886;border-radius:10px;"
    "padding:12px 16px;max-width:760px"
)


def job_card(job: Job) -> str:
    """One job, as the service told of it."""
    at = job.progress
    where = f"{at.stage} {at.step} / {at.steps}" if at.stage else "not started"
    body = f"<div>{escape(where)}</div>{said(job.message)}"
    return card(job.name, job.id, job.status, body)


def live_card(job_id: str, name: str, picture: Picture, trouble: str = "") -> str:
    """A job as far as its log has been read."""
    status = picture.status.status if picture.status else "…"
    message = picture.status.message if picture.status else ""
    stages = "".join(stage_row(stage) for stage in picture.stages.values())
    alarms = "".join(
        f'<div role="alert"><b>{escape(alarm.alarm)}</b> in {escape(alarm.stage)}: '
        f"{escape(alarm.advice)}</div>"
        for alarm in picture.alarms.values()
    )
    return card(name, job_id, status, said(message) + stages + alarms + said(trouble))


def card(name: str, job_id: str, status: str, body: str) -> str:
    colour = COLOURS.get(status, "#77808f")
    badge = (
        f'<span style="background:{colour};color:#fff;border-radius:99px;padding:1px 10px">'
        f"{escape(status)}</span>"
    )
    head = f"<b>{escape(name)}</b> {badge} <code>{escape(job_id)}</code>"
    return f'<div style="{STYLE}"><div>{head}</div>{body}</div>'


def said(text: str) -> str:
    return f'<div style="opacity:.75">{escape(text)}</div>' if text else ""


def stage_row(stage: StagePicture) -> str:
    state = f"{stage.step} / {stage.steps}"
    if stage.seconds is not None:
        state += f" · took {stage.seconds:.0f} s"
    bar = (
        f'<progress value="{stage.step}" max="{max(stage.steps, 1)}" '
        f'aria-label="{escape(stage.name)}: steps" style="width:160px"></progress>'
    )
    told = figures(stage.newest) if stage.newest else {}
    words = " · ".join(f"{escape(name)} <b>{escape(text)}</b>" for name, text in told.items())
    line = f"<div><b>{escape(stage.name)}</b> {bar} {state}</div><div>{words}</div>"
    return f'<div style="margin-top:8px">{line}{curve(stage)}{held_out(stage)}</div>'


def curve(stage: StagePicture) -> str:
    points = sorted(stage.points.items())
    if len(points) < 2:
        return ""
    title = f"{stage.figure} by step, from {points[0][1]:.3f} to {points[-1][1]:.3f}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}"><path d="{path(points)}" fill="none" stroke="#5b7cf0" '
        f'stroke-width="1.5"/></svg>'
    )


def path(points: Sequence[tuple[int, float]]) -> str:
    """An SVG path through (step, value) over the whole drawing."""
    kept = points[:: max(1, len(points) // MOST_POINTS)]
    low, high = min(v for _, v in points), max(v for _, v in points)
    first, last = points[0][0], points[-1][0]
    across, up = (last - first) or 1, (high - low) or 1
    spots = (
        f"{2 + (step - first) / across * (WIDTH - 4):.1f} "
        f"{HEIGHT - 3 - (value - low) / up * (HEIGHT - 6):.1f}"
        for step, value in kept
    )
    return "M" + "L".join(spots)


def held_out(stage: StagePicture) -> str:
    if not stage.evaluations:
        return ""
    first, newest = stage.evaluations[0], stage.evaluations[-1]
    text = f"held-out reward {first.mean:+.3f} ± {first.standard_error:.3f}"
    if newest is not first:
        text += f" → {newest.mean:+.3f} ± {newest.standard_error:.3f}"
    for found in stage.compared.differences[:1] if stage.compared else ():
        text += (
            f" (difference {found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}], "
            f"p = {found.p_value:.2g})"
        )
    return f"<div>{escape(text)}</div>"
