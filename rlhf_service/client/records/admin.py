"""Keys, quotas, the audit log, webhooks, and how the service is."""

from __future__ import annotations

from rlhf_service.client.records.base import Record


class Key(Record):
    """An API key without its secret."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: str
    revoked_at: str | None
    tenant: str = ""
    expires_at: str | None = None
    last_used_at: str | None = None


class NewKey(Key):
    """An API key with its secret, which is told this once."""

    secret: str


class Caller(Record):
    """Whom the service takes a request to be from."""

    id: str
    name: str
    tenant: str
    scopes: list[str]


class Permission(Record):
    """A tenant that may chat with a checkpoint of yours."""

    id: str
    created_at: int
    """Unix seconds."""
    project_id: str
    """The tenant."""


class Use(Record):
    """What a tenant's jobs hold now."""

    running_jobs: int
    queued_jobs: int
    cpus: float
    gpus: float


class Quota(Record):
    """A tenant's limits, None where there is none, and use."""

    tenant: str
    """`*`: the tenants that have no quota of their own."""
    own: bool
    running_jobs: int | None
    queued_jobs: int | None
    cpus: float | None
    gpus: float | None
    use: Use


class AuditEntry(Record):
    """Who changed what, or tried to."""

    id: str
    created_at: str
    tenant: str
    caller_name: str
    action: str
    object_id: str | None
    status: int
    outcome: str
    """`done`, `refused` or `failed`."""


class Webhook(Record):
    """Where events are posted."""

    id: str
    url: str
    events: list[str]
    description: str
    disabled_at: str | None


class NewWebhook(Webhook):
    """A webhook with the secret that signs its messages, which is told this once."""

    secret: str


class Delivery(Record):
    """One message to one webhook."""

    id: str
    job_id: str
    type: str
    state: str
    attempts: int
    status_code: int | None
    error: str
    created_at: str


class Readiness(Record):
    """Whether the service can do its work."""

    ready: bool
    checks: dict[str, str]
    """`ok`, or what is wrong."""
