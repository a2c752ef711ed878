"""The demo: the whole recipe through the REST API, and a verdict."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlhf_service.cli.watch import Watcher
from rlhf_service.client import ApiError, Client
from rlhf_service.events import EvaluationCompleted, Sample
from rlhf_service.job import JobStatus
from rlhf_service.recipes.reviews.data import prepare
from rlhf_service.recipes.reviews.recipe import reviews_spec

SIGMAS = 3.0
SHOWN = 3


def run_demo(url: str, api_key: str, data: Path, seed: int) -> int:
    """Post the recipe, show it live, judge it. 0 when the held-out reward clearly rose."""
    console = Console()
    spec = reviews_spec(prepare(data), seed)
    with Client(url, api_key) as client:
        job = client.jobs.create(spec)
        console.print(f"job {job.id}: movie-review snippets, SFT → reward model → PPO")
        console.print(f"page {url}/#{job.id}", highlight=False)
        watcher = Watcher(console)
        watcher.run(client.jobs.stream(job.id))
        ended = client.jobs.get(job.id)
        if ended.status is not JobStatus.SUCCEEDED:
            console.print(f"the job ended {ended.status}: {ended.message}", markup=False)
            console.print(log_tail(client, job.id), markup=False)
            return 1
        return judge(console, watcher.evaluations, str((ended.result or {}).get("model")))


def log_tail(client: Client, job_id: str) -> str:
    try:
        return "\n".join(client.jobs.logs(job_id).splitlines()[-30:])
    except ApiError:
        return ""


def judge(console: Console, evaluations: list[EvaluationCompleted], model: str) -> int:
    """Before and after, side by side. 0 when the rise is more than SIGMAS standard errors."""
    if not evaluations:
        console.print("the job left no held-out evaluation to judge by")
        return 1
    before, after = evaluations[0], evaluations[-1]
    table = Table("prompt", "before", "after", title="the same held-out prompts", show_lines=True)
    for old, new in list(zip(before.samples, after.samples, strict=True))[:SHOWN]:
        table.add_row(escape(old.prompt), shown(old), shown(new))
    console.print(table)
    rise = after.mean - before.mean
    error = math.hypot(before.standard_error, after.standard_error)
    for name, found in (("before", before), ("after", after)):
        console.print(
            f"held-out reward {name:6} {found.mean:+.3f} ± {found.standard_error:.3f} (n = {found.n})"
        )
    times = f", {rise / error:.1f} standard errors" if error else ""
    console.print(f"rise {rise:+.3f}{times}")
    console.print(f"model {model}", highlight=False, markup=False, soft_wrap=True)
    if rise > SIGMAS * error:
        return 0
    console.print(f"the reward did not rise by more than {SIGMAS:g} standard errors")
    return 1


def shown(sample: Sample) -> str:
    """A response and its score; square brackets in it are the model's, not markup."""
    return f"{escape(sample.response)}\n({sample.score:+.2f})"
