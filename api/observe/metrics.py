"""What Prometheus scrapes. Labels are bounded: route templates, methods, statuses, kinds; no ids."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from rlhf_service.job import JobStatus

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Instruments:
    """The figures of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "rlhf_http_requests", "Requests answered.", ["method", "route", "status"],
            registry=registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "rlhf_http_request_duration_seconds", "Until the answer began.", ["method", "route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.requests_open = Gauge(
            "rlhf_http_requests_in_progress", "Requests being answered, streams too.",
            registry=registry,
        )  # fmt: skip
        self.streams = Gauge(
            "rlhf_event_streams", "Open streams of jobs' events.", registry=registry
        )
        self.stream_jobs = Gauge(
            "rlhf_event_stream_jobs", "Jobs that are followed by a stream.", registry=registry
        )
        self.events = Counter(
            "rlhf_events_ingested", "Events taken from drivers, by how they came.", ["via"],
            registry=registry,
        )  # fmt: skip
        self.events_known = Counter(
            "rlhf_events_duplicate", "Events that had come before.", ["via"], registry=registry
        )
        self.turns = Counter(
            "rlhf_reconcile_turns", "Turns of the background loop.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.turn_seconds = Histogram(
            "rlhf_reconcile_turn_duration_seconds", "A turn of the background loop.",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.turn_age = Gauge(
            "rlhf_reconcile_turn_age_seconds", "Since the last turn ended.", registry=registry
        )
        self.leases = Counter(
            "rlhf_leases", "Tries to take a job's lease, and leases lost.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.leases_held = Gauge(
            "rlhf_leases_held", "Leases held now, by any replica.", registry=registry
        )
        self.jobs = Gauge("rlhf_jobs", "Jobs by status.", ["status"], registry=registry)
        self.queue_age = Gauge(
            "rlhf_queue_oldest_age_seconds", "How long the first in the queue has waited.",
            registry=registry,
        )  # fmt: skip
        self.loop_lag = Gauge(
            "rlhf_event_loop_lag_seconds", "Longest wait for the event loop of late.",
            registry=registry,
        )  # fmt: skip
        self.listening = Gauge(
            "rlhf_event_listener_connected", "1 while other replicas' notices are heard.",
            registry=registry,
        )  # fmt: skip
        self.cluster_up = Gauge(
            "rlhf_cluster_up", "1 while the cluster answers.", registry=registry
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        method = method if method in METHODS else "other"
        self.requests.labels(method, route, str(status)).inc()
        self.request_seconds.labels(method, route).observe(seconds)

    def took(self, via: str, events: int, known: int) -> None:
        """Events came, some of them known."""
        self.events.labels(via).inc(events)
        self.events_known.labels(via).inc(known)

    def count_jobs(self, by_status: Mapping[str, int]) -> None:
        for status in JobStatus:
            self.jobs.labels(status.value).set(by_status.get(status.value, 0))

    def text(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type, in the format that is asked for."""
        if "application/openmetrics-text" in accept:
            return generate_openmetrics(self.registry), OPENMETRICS  # type: ignore[no-untyped-call]
        return generate_latest(self.registry), PLAIN
