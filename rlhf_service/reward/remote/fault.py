"""Why a remote score could not be had."""

from __future__ import annotations

from typing import Literal

from rlhf_service.records import ScoreFailure

Kind = Literal["timeout", "unavailable", "refused", "bad_answer", "not_finite", "spend"]


class RemoteFault(Exception):
    """One request, or one item of it, without a score.

    `timeout`: no answer in time. `unavailable`: no connection, 429 or 5xx to the last attempt, or
    the circuit is open. `refused`: an address that may not be called, a redirect, a 4xx, or an item
    that the service itself declines. `bad_answer`: an answer that is not what was asked for.
    `not_finite`: NaN or infinity. `spend`: the spend cap is reached.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    @property
    def failure(self) -> ScoreFailure:
        return ScoreFailure(kind=self.kind, message=str(self))
