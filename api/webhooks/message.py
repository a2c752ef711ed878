"""What a webhook is told of one event."""

from __future__ import annotations

import json

from api.store.events import stored_event
from api.store.tables import EventRow, JobRow
from api.store.webhook_tables import DeliveryRow


def message(delivery: DeliveryRow, job: JobRow, event: EventRow) -> bytes:
    """The body. Nothing in it changes later, so every sending has the same bytes."""
    found = {
        "id": delivery.id,
        "type": delivery.type,
        "timestamp": event.created_at.isoformat(),
        "data": {
            "job_id": job.id,
            "job_name": job.name,
            "event": stored_event(event).model_dump(mode="json"),
        },
    }
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
