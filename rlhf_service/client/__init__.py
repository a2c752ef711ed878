"""Python client of the REST API, synchronous and asynchronous.

with Client() as client:                       # RLHF_URL and RLHF_API_KEY, or `rlhf login`
    job = client.jobs.create(spec)
    for stored in client.jobs.stream(job.id):  # reconnects by itself, misses nothing
        print(stored.seq, stored.event.type)

What can be asked stands once, under `calls`; `Client` and `AsyncClient` only carry it.
"""

from __future__ import annotations

from rlhf_service.client.address import Address, find_address
from rlhf_service.client.aio import AsyncClient
from rlhf_service.client.errors import (
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    NotSignedIn,
    Refused,
    ServerFault,
    TooManyRequests,
    Unreachable,
)
from rlhf_service.client.paging import Page
from rlhf_service.client.records import (
    CheckedSpec,
    FieldFault,
    FileRecord,
    Job,
    JobProgress,
    Key,
    Model,
    NewKey,
    Recipe,
    SampleSet,
    StepPoint,
)
from rlhf_service.client.retry import Retry
from rlhf_service.client.sync import Client

__all__ = [
    "Address",
    "ApiError",
    "AsyncClient",
    "CheckedSpec",
    "Client",
    "Conflict",
    "FieldFault",
    "FileRecord",
    "Forbidden",
    "Job",
    "JobProgress",
    "Key",
    "Model",
    "NewKey",
    "NotFound",
    "NotSignedIn",
    "Page",
    "Recipe",
    "Refused",
    "Retry",
    "SampleSet",
    "ServerFault",
    "StepPoint",
    "TooManyRequests",
    "Unreachable",
    "find_address",
]
