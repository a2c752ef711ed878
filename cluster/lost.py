"""A job's folder that is taken away while the job runs."""

from __future__ import annotations

import os

from rlhf_service.artefacts.build import URI_VARIABLE
from rlhf_service.events import JobStopped
from rlhf_service.job import StopReason
from rlhf_service.storage import JobFolder


def lost(folder: JobFolder) -> JobStopped | None:
    """The attempt's end when the folder is gone; None while it is there.

    The specification is written before an attempt begins and never removed. What learners write
    after the loss would stand alone, so they do not go on; the next attempt brings back the copies.
    """
    if folder.spec.exists():
        return None
    copies = os.environ.get(URI_VARIABLE)
    said = f"the job's folder {folder.root} disappeared while the job ran"
    if copies:
        message = f"{said}; the next attempt goes on from the copies at {copies}"
    else:
        message = (
            f"{said}, and there are no copies (the operator's setting `artefacts`); find out who "
            "removed it, then retry the job: it begins at the start"
        )
    return JobStopped(reason=StopReason.STORAGE_FAILED, message=message, retryable=bool(copies))
