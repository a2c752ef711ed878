"""How far the planner is off: jobs on a grid, each planned, then run for a few steps by the real
stage code on real DeepSpeed engines, every rank a process.

    python -m tests.benchmarks.planner_error --profile .rlhf/storage/control/device-profile.json

Prints a table and one JSON line. Of one rank, a step's time is the processor's (what other work on the
machine takes does not count); of two, the clock's. A process's own weight is measured before its first
network, so that the error is the plan's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rlhf_service.planning.device import DeviceProfile, read_profile
from rlhf_service.planning.parts import Setting
from rlhf_service.planning.plan import plan_job
from rlhf_service.planning.records import RoleMemory
from rlhf_service.spec import JobSpec
from tests.benchmarks.planner_jobs import Case, fastest, run
from tests.benchmarks.planner_worker import preload

GRID = (
    Case(width=256, layers=4),
    Case(width=512, layers=6, batch=4, micro=4, length=64),
    Case(width=512, layers=6, batch=4, micro=4, length=64, zero=1),
    Case(width=512, layers=6, batch=4, micro=4, length=64, zero=2),
    Case(width=512, layers=6, batch=4, micro=4, length=64, zero=3),
    Case(width=256, layers=8, batch=16, micro=16, length=128, vocab=2048),
    Case(width=256, layers=4, batch=8, micro=2, length=256),
    Case(architecture="gpt2", width=384, layers=6, batch=4, micro=4),
    Case(architecture="lstm", width=256, layers=2, batch=8),
    Case(kind="reward", width=256, layers=4, batch=4, micro=4),
    Case(kind="dpo", width=256, layers=4, batch=4, micro=4),
    Case(kind="ppo", width=256, layers=4, batch=8, micro=8, length=32),
    Case(kind="ppo", width=512, layers=6, batch=4, micro=4, length=32),
    Case(kind="grpo", width=256, layers=4, batch=8, micro=4, length=32),
    Case(kind="generate", width=256, layers=4, batch=16, length=32),
    Case(kind="generate", architecture="gpt2", width=384, layers=6, batch=8, length=32),
    Case(width=512, layers=6, batch=4, micro=4, length=64, lora=True),
    Case(kind="grpo", width=384, layers=4, batch=8, micro=8, length=32, lora=True),
    Case(width=384, layers=4, batch=4, micro=2, length=64, ranks=2),
    Case(width=384, layers=4, batch=4, micro=2, length=64, zero=1, ranks=2),
    Case(width=384, layers=4, batch=4, micro=2, length=64, zero=2, ranks=2),
    Case(width=384, layers=4, batch=4, micro=2, length=64, zero=3, ranks=2),
    Case(kind="ppo", width=384, layers=4, batch=4, micro=2, length=32, zero=3, ranks=2),
    Case(width=256, layers=2, batch=2, micro=2, length=16, precision="bf16"),
    Case(width=256, layers=2, batch=2, micro=2, length=16, zero=2, precision="bf16"),
    Case(width=256, layers=2, batch=2, micro=2, length=16, zero=3, precision="bf16"),
)

QUICK = (
    Case(architecture="gpt2", width=384, layers=4, batch=8, micro=8, steps=3),
    Case(width=448, layers=5, batch=2, micro=2, length=32, zero=2, steps=3),
    Case(kind="ppo", width=384, layers=4, batch=4, micro=4, length=32, steps=3),
)
"""For a test: none of them is a job whose figures the planner was made with."""

MEMORY_TARGET, TIME_TARGET = 0.10, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One job planned and measured."""

    name: str
    memory_planned: float
    memory: float
    own_planned: float
    """Without what the process weighs before it has a network."""
    own: float
    seconds_planned: float | None
    seconds: float

    @property
    def memory_error(self) -> float:
        return self.memory_planned / self.memory - 1

    @property
    def own_error(self) -> float:
        return self.own_planned / self.own - 1

    @property
    def seconds_error(self) -> float | None:
        return None if self.seconds_planned is None else self.seconds_planned / self.seconds - 1


def measure(case: Case, profile: DeviceProfile, root: Path) -> Row:
    """Run the job, then plan it on this machine's profile."""
    raw, outs = run(case, root)
    began = max(out["began"] for out in outs)
    baseline = {**profile.baseline, "learner": began, "rollout": began}
    here = profile.model_copy(update={"baseline": baseline})
    plan = plan_job(JobSpec.model_validate(raw), Setting(host=here))
    role: RoleMemory = next(
        r for r in plan.memory if r.role == ("rollout" if case.kind == "generate" else "learner")
    )
    planned = float(role.bytes.value or 0)
    peak = float(max(out["peak"] for out in outs))
    phases = plan.stages[0].phases
    if case.kind == "generate":
        seconds_planned, seconds = phases["generate"].value, fastest(outs[0], "work")
    else:
        learning = [one for name, one in phases.items() if name not in ("generate", "judge")]
        known = [one.value for one in learning if one.value is not None]
        # Published copies here stay in the process; only their digests take time.
        seconds_planned = sum(known) if known else None
        timed = "work" if case.ranks == 1 else "total"
        seconds = max(fastest(out, timed) for out in outs if out["steps"])
    return Row(
        name=case.name,
        memory_planned=planned,
        memory=peak,
        own_planned=planned - began,
        own=peak - began,
        seconds_planned=seconds_planned,
        seconds=seconds,
    )


def show(rows: list[Row]) -> None:
    """A table in Markdown."""
    print(
        "| job | memory planned, MiB | measured | error | of its own part "
        "| step planned, s | measured | error |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        seconds = (
            f"{row.seconds_planned:.3f} | {row.seconds:.3f} | {row.seconds_error:+.0%}"
            if row.seconds_planned is not None and row.seconds_error is not None
            else f"unknown | {row.seconds:.3f} |"
        )
        print(
            f"| {row.name} | {row.memory_planned / 2**20:.0f} | {row.memory / 2**20:.0f} "
            f"| {row.memory_error:+.1%} | {row.own_error:+.0%} | {seconds} |"
        )


def summary(rows: list[Row]) -> dict[str, object]:
    memory = [abs(row.memory_error) for row in rows]
    own = [abs(row.own_error) for row in rows]
    seconds = [abs(e) for row in rows if (e := row.seconds_error) is not None]
    return {
        "benchmark": "planner_error",
        "errors": {row.name: [round(row.memory_error, 4), round(row.own_error, 4)] for row in rows},
        "jobs": len(rows),
        "memory_median_error": round(statistics.median(memory), 4),
        "memory_within_10_percent": sum(e <= MEMORY_TARGET for e in memory),
        "own_part_median_error": round(statistics.median(own), 4),
        "own_part_within_10_percent": sum(e <= MEMORY_TARGET for e in own),
        "seconds_median_error": round(statistics.median(seconds), 4),
        "seconds_within_25_percent": sum(e <= TIME_TARGET for e in seconds),
        "seconds_planned": len(seconds),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Plan jobs, run them, and compare.")
    parser.add_argument("--profile", type=Path, required=True, help="what `rlhf calibrate` wrote")
    parser.add_argument("--only", default="", help="jobs with this in their name")
    parser.add_argument("--quick", action="store_true", help="three jobs only")
    args = parser.parse_args()
    profile = read_profile(args.profile)
    if profile is None:
        print(f"there is no {args.profile}; rlhf calibrate --out {args.profile}", file=sys.stderr)
        return 1
    preload()
    rows = []
    root = Path(tempfile.mkdtemp(prefix="rlhf-planner-"))
    try:
        for number, case in enumerate(QUICK if args.quick else GRID):
            if args.only not in case.name:
                continue
            try:
                rows.append(measure(case, profile, root / f"job-{number}"))
            except (RuntimeError, ValueError) as fault:
                print(f"{case.name} could not be measured: {fault}", file=sys.stderr)
            shutil.rmtree(root / f"job-{number}", ignore_errors=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if not rows:
        print(f"no job has {args.only!r} in its name", file=sys.stderr)
        return 1
    show(rows)
    print(json.dumps(summary(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
