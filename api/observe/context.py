"""What a log line and a span are about: the request and the job at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The request's span, for what happens because of it elsewhere."""
job_id: ContextVar[str | None] = ContextVar("job_id", default=None)


@contextmanager
def about(job: str) -> Iterator[None]:
    """Meanwhile log lines name this job."""
    token = job_id.set(job)
    try:
        yield
    finally:
        job_id.reset(token)
