"""What must hold before a job is accepted. Every refusal names the field and the remedy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from api.service.cluster import Cluster
from rlhf_service.data.check import check_data
from rlhf_service.errors import DataError, LauncherError, ModelError, SpecError
from rlhf_service.launching import Capacity
from rlhf_service.models.check import check_model_folders
from rlhf_service.reward.operator import Operator, check_judges
from rlhf_service.spec import DataSpec, FolderModel, JobSpec, ScratchModel
from rlhf_service.spec.walk import sections

Named = tuple[str, str, type[DataError] | type[ModelError]]
"""A path of a request: dotted field, path, the error that refuses it."""


async def check_submission(spec: JobSpec, roots: Sequence[Path], cluster: Cluster) -> str:
    """Raises a UserError, or returns a note on what could not be checked (usually empty)."""
    check_judges(spec, spec.recovery.request_timeout, Operator.read())
    await asyncio.to_thread(check_files, spec, roots)
    try:
        capacity = await cluster.capacity()
    except LauncherError as fault:
        return f"resources not checked: {fault}"
    if capacity.nothing:  # its machines are on their way, or Ray has not counted them yet
        return "resources not checked: no machine of the cluster has a CPU or GPU yet"
    check_resources(spec, capacity)
    return ""


def check_files(spec: JobSpec, roots: Sequence[Path]) -> None:
    """Data and model folders are inside `roots`, exist and are what they should be."""
    check_paths(spec, roots)
    check_data(spec)
    check_model_folders(spec)


def check_paths(spec: JobSpec, roots: Sequence[Path]) -> None:
    """Whether a path exists outside `roots` is not told. Raises DataError or ModelError."""
    for field, path, kind in paths_of(spec):
        check_path(field, path, kind, roots)


def check_path(
    field: str, path: str, kind: type[DataError] | type[ModelError], roots: Sequence[Path]
) -> None:
    """One of them, by itself."""
    if not os.path.isabs(path):
        raise kind(f"{path!r} is not absolute; write the whole path", field)
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
        raise kind(outside(path, roots), field)


def outside(path: str, roots: Sequence[Path]) -> str:
    """Why the path is refused."""
    return (
        f"{path} is outside the folders that jobs may read ({', '.join(map(str, roots))}); "
        "move it there, or have its folder added to RLHF_DATA_ROOTS"
    )


def paths_of(spec: JobSpec) -> Iterator[Named]:
    """Every file or folder that a specification names: dotted field, path, its error."""
    for field, section in sections(spec):
        if isinstance(section, DataSpec):
            yield f"{field}.path", section.path, DataError
        elif isinstance(section, FolderModel):
            yield f"{field}.path", section.path, ModelError
        elif isinstance(section, ScratchModel) and section.tokenizer is not None:
            yield f"{field}.tokenizer", section.tokenizer, ModelError


def demand(spec: JobSpec) -> Capacity:
    """CPUs and GPUs that the job reserves: its learners, and its pools when a stage uses them. All
    ranks count, whatever `min_workers` says: what a group may grow into must be nobody else's.
    """
    learner, pools = spec.resources.learner, (spec.resources.rollout, spec.resources.reward)
    cpus = learner.num_workers * learner.cpus_per_worker
    gpus = learner.num_workers * learner.gpus_per_worker
    if spec.needs_pools:
        cpus += sum(pool.num_actors * pool.cpus_per_actor for pool in pools)
        gpus += sum(pool.num_actors * pool.gpus_per_actor for pool in pools)
    return Capacity(cpus, gpus)


def check_resources(spec: JobSpec, capacity: Capacity) -> None:
    """The job would fit on the empty cluster. Raises SpecError."""
    asked, learner = demand(spec), spec.resources.learner
    for noun, total, has, ours in (
        ("CPUs", asked.cpus, capacity.cpus, learner.num_workers * learner.cpus_per_worker),
        ("GPUs", asked.gpus, capacity.gpus, learner.num_workers * learner.gpus_per_worker),
    ):
        if total <= has:
            continue
        if ours > has or not spec.needs_pools:
            field, remedy = "resources.learner.num_workers", "lower it, or reserve less per worker"
        else:
            field, remedy = "resources.rollout.num_actors", "ask for fewer or smaller actors"
        raise SpecError(
            f"the job needs {total:g} {noun}; the cluster has at most {has:g}: {remedy}", field
        )
