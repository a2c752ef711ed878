"""The pools' room, made known to the part of Ray that counts how many learner ranks fit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import ray

from cluster.placement import Bundle

log = logging.getLogger(__name__)

LASTS_SECONDS = 180.0
RENEWAL_SECONDS = 60.0
ANSWER_SECONDS = 10.0


class PoolClaim:
    """An elastic group is as large as what Ray's autoscaling coordinator sets apart for it. That goes
    by whole machines and by what it was told of; of placement groups it knows nothing, and would
    count the pools' room as the learners'. A context that tells it.

    Best effort: without it a group that was counted too large waits until all of it fits.
    """

    def __init__(self, job: str, bundles: Sequence[Bundle]) -> None:
        self._name, self._bundles = f"rlhf-{job}-pools", list(bundles)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="pool-claim", daemon=True)

    def __enter__(self) -> PoolClaim:
        self._tell()  # before the learners ask: of equals the first comes first
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(ANSWER_SECONDS)
        try:
            ray.get(coordinator().cancel_request.remote(self._name), timeout=ANSWER_SECONDS)
        except Exception as fault:
            log.warning("the pools' claim runs out by itself: %s", fault)

    def _renew(self) -> None:
        while not self._over.wait(RENEWAL_SECONDS):
            self._tell()

    def _tell(self) -> None:
        from ray.data._internal.cluster_autoscaler.base_autoscaling_coordinator import (
            ResourceRequestPriority,
        )

        try:
            told = coordinator().request_resources.remote(
                requester_id=self._name,
                resources=self._bundles,
                expire_after_s=LASTS_SECONDS,
                priority=ResourceRequestPriority.HIGH,  # as the learners ask
            )
            ray.get(told, timeout=ANSWER_SECONDS)
        except Exception as fault:
            log.warning("the pools' room is not known to Ray Train: %s", fault)


def coordinator() -> ray.actor.ActorHandle:
    """The cluster's, which Ray Train asks too."""
    from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
        get_or_create_autoscaling_coordinator,
    )

    return get_or_create_autoscaling_coordinator()
