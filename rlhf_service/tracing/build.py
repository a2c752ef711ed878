"""The tracer that a configuration asks for."""

from __future__ import annotations

import os

from rlhf_service.errors import RlhfError
from rlhf_service.tracing.base import NoTracer, Tracer

ENDPOINT_VARIABLE = "RLHF_OTLP_ENDPOINT"
"""Names the collector to a job's processes."""
PARENT_VARIABLE = "TRACEPARENT"
"""Names the span that a driver's own are below."""


def tracer_of_process(service: str) -> Tracer:
    """What the environment of a job's process asks for."""
    return build_tracer(os.environ.get(ENDPOINT_VARIABLE, ""), service)


def build_tracer(endpoint: str, service: str) -> Tracer:
    """Sends to the OTLP/HTTP collector at `endpoint`; traces nothing when that is empty."""
    if not endpoint:
        return NoTracer()
    try:
        from rlhf_service.tracing.otlp import OtlpTracer
    except ModuleNotFoundError as fault:
        raise RlhfError(
            f"tracing needs OpenTelemetry, which is not installed ({fault.name}); install "
            "rlhf-service[tracing], or leave RLHF_OTLP_ENDPOINT unset"
        ) from None
    return OtlpTracer(endpoint, service)
