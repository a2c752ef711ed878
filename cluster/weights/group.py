"""The calls of a rollout actor that are about weights: Ray's concurrency group for them."""

from __future__ import annotations

GROUP = "weights"
THREADS = 2
"""One receives while the other can be told to leave."""
