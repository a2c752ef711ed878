"""What may be spent on a judge."""

from __future__ import annotations

import threading

from rlhf_service.reward.remote.fault import RemoteFault
from rlhf_service.spec.judges import SpendSpec


class Purse:
    """Counts requests and cost; closed for good when either cap is reached."""

    def __init__(self, spec: SpendSpec) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self.requests = 0
        self.cost = 0.0

    def open(self) -> None:
        """Before a request. Raises RemoteFault of kind `spend`."""
        with self._lock:
            spec = self._spec
            if spec.max_requests is not None and self.requests >= spec.max_requests:
                message = f"spend.max_requests of {spec.max_requests} is reached"
                raise RemoteFault("spend", message)
            if spec.max_cost is not None and self.cost >= spec.max_cost:
                raise RemoteFault("spend", f"spend.max_cost of {spec.max_cost:g} is reached")
            self.requests += 1

    def pay(self, usage: object) -> None:
        """Take in an answer's `usage`, as far as it says anything."""
        if not isinstance(usage, dict):
            return
        with self._lock:
            self.cost += (
                tokens(usage.get("prompt_tokens")) * self._spec.price_per_1k_input
                + tokens(usage.get("completion_tokens")) * self._spec.price_per_1k_output
            ) / 1000


def tokens(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
