"""Tells webhooks what happened: at least once, in each job's order."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta

import httpx

from api.schemas.webhooks import DeliveryState
from api.service.secret import webhook_key
from api.service.signals import Signals
from api.settings import Settings
from api.store.database import Database
from api.store.types import now
from api.store.webhook_tables import DeliveryRow, WebhookRow
from api.store.webhooks import due, give_up_all, lock_taken, purge, take_delivery
from api.webhooks.message import message
from api.webhooks.signature import headers
from rlhf_service.reward.operator import Operator
from rlhf_service.reward.remote.address import AddressRefused, check_url
from rlhf_service.reward.remote.retry import retry_after
from rlhf_service.reward.remote.transport import PinnedTransport

log = logging.getLogger("rlhf.webhooks")

AT_ONCE = 8
"""Messages on their way side by side."""
LONGEST_PAUSE = 3600.0
PURGE_EVERY = 3600.0
ERROR_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """How a sending went."""

    status: int | None
    """None when there was no answer."""
    error: str = ""
    after: float | None = None
    """Seconds that the receiver asks to wait."""

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        return self.status == 410


class Deliverer:
    """Consumes deliveries that are due; waits for receivers, each at most `webhook_timeout`;
    unblocked by `signals.news` or the interval. Each sending holds its delivery's lease, and how it
    went is written only while it does.
    """

    def __init__(
        self, database: Database, signals: Signals, settings: Settings, secret: bytes
    ) -> None:
        self.database = database
        self.signals = signals
        self.settings = settings
        self.secret = secret

    async def run(self) -> None:
        """Until cancelled."""
        purged_at = 0.0
        while True:
            self.signals.news.clear()
            try:
                while await self.turn():
                    pass
                if time.monotonic() - purged_at > PURGE_EVERY:
                    purged_at = time.monotonic()
                    kept = timedelta(days=self.settings.webhook_retention_days)
                    async with self.database.write() as session:
                        await purge(session, now() - kept)
            except Exception:
                log.exception("webhooks: this turn failed; the next may not")
            try:
                await asyncio.wait_for(self.signals.news.wait(), self.settings.reconcile_interval)
            except TimeoutError:
                continue

    async def turn(self) -> int:
        """Send what is due; returns how many were sent or tried."""
        async with self.database.read() as session:
            ids = await due(session, AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.deliver(delivery_id)) for delivery_id in ids]
        return sum(task.result() for task in tasks)

    async def deliver(self, delivery_id: str) -> bool:
        """Send one message, unless another replica does."""
        token = secrets.token_hex(16)
        seconds = 2 * self.settings.webhook_timeout + 5
        async with self.database.write() as session:
            taken = await take_delivery(session, delivery_id, token, seconds)
        if taken is None:
            return False
        delivery, webhook, job, event = taken
        answer = await self.send(webhook, delivery.id, message(delivery, job, event))
        async with self.database.write() as session:
            stored = await lock_taken(session, delivery_id, token)
            if stored is None:
                log.warning("%s was taken over while it was sent", delivery_id)
                return True
            self.note(stored, answer)
            found = await session.get(WebhookRow, stored.webhook_id)
            if answer.gone and found is not None:
                await session.flush()
                await give_up_all(session, found, "the receiver answered 410 Gone")
        return True

    def note(self, delivery: DeliveryRow, answer: Answer) -> None:
        """Write down how a sending went, and when the next is due."""
        delivery.attempts += 1
        delivery.status_code, delivery.error = answer.status, answer.error[:ERROR_CHARACTERS]
        delivery.lease_token = delivery.lease_expires_at = None
        if answer.ok:
            delivery.state, delivery.delivered_at = DeliveryState.DELIVERED, now()
            delivery.next_at = None
        elif answer.gone or delivery.attempts >= self.settings.webhook_attempts:
            delivery.state, delivery.next_at = DeliveryState.DEAD, None
        else:
            wait = max(self.pause(delivery.attempts), answer.after or 0.0)
            delivery.next_at = now() + timedelta(seconds=min(wait, LONGEST_PAUSE))

    def pause(self, attempts: int) -> float:
        """Seconds after that many failures: doubles, with jitter, so that receivers recover."""
        doubled = self.settings.webhook_pause * 2.0 ** min(attempts - 1, 30)
        return float(min(LONGEST_PAUSE, doubled) * random.uniform(0.75, 1.25))

    async def send(self, webhook: WebhookRow, message_id: str, body: bytes) -> Answer:
        """POST it to an address that was checked. Redirects are not followed."""
        key = webhook_key(self.secret, webhook.id)
        signed = headers(key, message_id, int(time.time()), body)
        signed |= {"content-type": "application/json", "user-agent": "rlhf-service"}
        operator = Operator.read()
        try:
            destination = check_url(webhook.url, operator.private_urls, operator.url_hosts)
            async with (
                asyncio.timeout(self.settings.webhook_timeout),
                httpx.AsyncClient(
                    transport=PinnedTransport(destination, connections=1),
                    timeout=self.settings.webhook_timeout,
                ) as client,
                client.stream("POST", webhook.url, content=body, headers=signed) as reply,
            ):
                status, wait = reply.status_code, retry_after(reply.headers.get("retry-after"))
        except AddressRefused as fault:
            return Answer(None, str(fault))
        except TimeoutError:
            return Answer(None, f"no answer within {self.settings.webhook_timeout:g} s")
        except httpx.HTTPError as fault:
            return Answer(None, str(fault) or type(fault).__name__)
        ok = 200 <= status < 300
        return Answer(status, "" if ok else f"the receiver answered {status}", wait)
