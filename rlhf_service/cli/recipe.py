"""A recipe through the REST API, shown live, and a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlhf_service.cli.watch import Watcher, difference_line
from rlhf_service.client import ApiError, Client
from rlhf_service.events import SIGNIFICANT, EvaluationCompared, EvaluationCompleted, Sample
from rlhf_service.job import JobStatus
from rlhf_service.recipes.catalogue import RECIPES
from rlhf_service.recipes.placed import PLACED

DEMO = "generation"
SIGMAS = 3.0
SHOWN = 3


def run_demo(url: str, api_key: str, data: Path, seed: int, device: str) -> int:
    """Run one recipe. 0 when the held-out reward rose by more than SIGMAS standard errors."""
    console = Console()
    ended = run_recipe(console, url, api_key, data, DEMO, seed, device)
    return 1 if ended is None else judge(console, ended.evaluations, ended.model)


def run_named(url: str, api_key: str, data: Path, name: str, seed: int, device: str) -> int:
    """Run recipe `name`. 0 when the held-out reward rose significantly (paired bootstrap)."""
    console = Console()
    ended = run_recipe(console, url, api_key, data, name, seed, device)
    if ended is None or ended.comparison is None:
        return 1
    show_samples(console, ended.evaluations)
    for found in ended.comparison.differences:
        console.print(difference_line(found), markup=False, soft_wrap=True)
    console.print(f"model {ended.model}", highlight=False, markup=False, soft_wrap=True)
    if ended.comparison.differences[0].rose:
        return 0
    console.print(f"the held-out reward did not rise with p < {SIGNIFICANT:g}")
    return 1


@dataclass(frozen=True, slots=True)
class Ended:
    """A recipe's job that succeeded."""

    evaluations: list[EvaluationCompleted]
    comparison: EvaluationCompared | None
    model: str


def run_recipe(
    console: Console, url: str, api_key: str, data: Path, name: str, seed: int, device: str
) -> Ended | None:
    """Post the recipe and show it live. None when the job did not succeed, after saying why."""
    recipe = RECIPES[name]
    spec = PLACED[device](recipe.build(data / name, seed))
    with Client(url, api_key) as client:
        job = client.jobs.create(spec)
        console.print(f"job {job.id}: {recipe.title}")
        console.print(f"page {url}/#{job.id}", highlight=False)
        watcher = Watcher(console)
        watcher.run(client.jobs.stream(job.id))
        ended = client.jobs.get(job.id)
        if ended.status is not JobStatus.SUCCEEDED:
            console.print(f"the job ended {ended.status}: {ended.message}", markup=False)
            console.print(log_tail(client, job.id), markup=False)
            return None
        model = str((ended.result or {}).get("model"))
        return Ended(watcher.evaluations, watcher.comparison, model)


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
    show_samples(console, evaluations)
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


def show_samples(console: Console, evaluations: list[EvaluationCompleted]) -> None:
    """A few answers of the policy before and after, side by side."""
    table = Table("prompt", "before", "after", title="the same held-out prompts", show_lines=True)
    before, after = evaluations[0], evaluations[-1]
    for old, new in list(zip(before.samples, after.samples, strict=True))[:SHOWN]:
        table.add_row(escape(old.prompt), shown(old), shown(new))
    console.print(table)


def shown(sample: Sample) -> str:
    """A response and its score; square brackets in it are the model's, not markup."""
    return f"{escape(sample.response)}\n({sample.score:+.2f})"
