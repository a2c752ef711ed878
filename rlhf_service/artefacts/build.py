"""The store that a configuration asks for."""

from __future__ import annotations

import os

from rlhf_service.artefacts.base import ArtefactStore

URI_VARIABLE = "RLHF_JOB_ARTEFACTS"
"""Where a job's driver keeps copies of its files."""
SECONDS_VARIABLE = "RLHF_JOB_ARTEFACTS_SECONDS"
"""How long it may copy after the end."""


def job_uri(artefacts: str, job_id: str) -> str:
    """Where one job's copies lie; empty when there are none."""
    return f"{artefacts.rstrip('/')}/jobs/{job_id}" if artefacts else ""


def store_at(uri: str) -> ArtefactStore | None:
    """The store; None when `uri` is empty."""
    if not uri:
        return None
    from rlhf_service.artefacts.fsspec import FsspecArtefacts

    return FsspecArtefacts(uri)


def store_of_process() -> ArtefactStore | None:
    """The store that the environment of a driver names."""
    return store_at(os.environ.get(URI_VARIABLE, ""))
