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
    Artefact,
    Checkpoint,
    FileRecord,
    Job,
    JobProgress,
    Lineage,
    Log,
    Model,
    SampleSet,
    StepPoint,
)
from rlhf_service.client.records.admin import (
    AuditEntry,
    Caller,
    Delivery,
    Key,
    NewKey,
    NewWebhook,
    Permission,
    Quota,
    Readiness,
    Webhook,
)
from rlhf_service.client.records.drafts import CheckedSpec, FieldFault, PreparedRecipe, Recipe
from rlhf_service.client.retry import Retry
from rlhf_service.client.sync import Client

__all__ = [
    "Address",
    "ApiError",
    "Artefact",
    "AsyncClient",
    "AuditEntry",
    "Caller",
    "CheckedSpec",
    "Checkpoint",
    "Client",
    "Conflict",
    "Delivery",
    "FieldFault",
    "FileRecord",
    "Forbidden",
    "Job",
    "JobProgress",
    "Key",
    "Lineage",
    "Log",
    "Model",
    "NewKey",
    "NewWebhook",
    "NotFound",
    "NotSignedIn",
    "Page",
    "Permission",
    "PreparedRecipe",
    "Quota",
    "Readiness",
    "Recipe",
    "Refused",
    "Retry",
    "SampleSet",
    "ServerFault",
    "StepPoint",
    "TooManyRequests",
    "Unreachable",
    "Webhook",
    "find_address",
]
