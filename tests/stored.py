"""Events as the service keeps them."""

from __future__ import annotations

from datetime import UTC, datetime

from rlhf_service.events import Event, StoredEvent


def stored(event: Event, seq: int = 1, producer: str = "a1-driver") -> StoredEvent:
    """`event` of job-1's first attempt, as number `seq`."""
    return StoredEvent(
        seq=seq,
        job_id="job-1",
        attempt=1,
        producer=producer,
        producer_seq=seq,
        created_at=datetime.now(UTC),
        event=event,
    )
