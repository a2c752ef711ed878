"""Server-sent events, and a job's log followed through breaks. Nothing here waits or sends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import httpx

from rlhf_service.client.errors import ApiError, refusal
from rlhf_service.client.retry import RETRIED_STATUSES, Retry
from rlhf_service.events import StoredEvent

STREAM_SILENCE = 60.0
"""Seconds without even a heartbeat after which a stream is opened anew."""
STREAM_FAILURES = 20
"""Tries in a row without a single frame after which a stream is given up."""
STREAM_TIMEOUT = httpx.Timeout(30.0, read=STREAM_SILENCE)
ANSWER_TIMEOUT = httpx.Timeout(30.0, read=600.0)
"""Of a model's answer: before its first word the service may have to load the model."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event."""

    event: str
    data: str


@dataclass(slots=True)
class Frames:
    """Puts frames together from lines."""

    _event: str = "message"
    _data: list[str] = field(default_factory=list)

    def take(self, line: str) -> Frame | None:
        """The frame that this line ends, if it does."""
        if line.startswith("event:"):
            self._event = line[6:].strip()
        elif line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif not line and (self._data or self._event != "message"):
            frame = Frame(self._event, "\n".join(self._data))
            self._event, self._data = "message", []
            return frame
        return None


@dataclass(slots=True)
class Following:
    """A job's log from `after` on, whatever happens to the connection: none missed, none twice."""

    job_id: str
    after: int
    retry: Retry
    over: bool = False
    _failures: int = 0
    _told: bool = False
    _frames: Frames = field(default_factory=Frames)

    def opened(self) -> tuple[str, dict[str, str]]:
        """Path and headers of the next connection."""
        self._told, self._frames = False, Frames()
        return f"/v1/jobs/{self.job_id}/stream", {"Last-Event-ID": str(self.after)}

    def take(self, line: str) -> StoredEvent | None:
        """The event that this line ends, if it does."""
        frame = self._frames.take(line)
        if frame is None:
            return None
        self._failures, self._told = 0, True
        if frame.event == "end":
            self.over = True
            return None
        if frame.event == "reset":
            # The service goes on by itself, from where the log now begins.
            self.after = max(int(json.loads(frame.data)["first"]) - 1, 0)
            return None
        if frame.event == "reconnect":
            return None
        event = StoredEvent.model_validate_json(frame.data)
        self.after = event.seq
        return event

    def closed(self, fault: httpx.TransportError | None) -> float:
        """Seconds until the next connection. Raises ApiError when it is hopeless."""
        if self._told and fault is None:
            return 0.0
        self._failures += 1
        if self._failures > STREAM_FAILURES:
            why = str(fault) if fault else "it ends without a word"
            raise ApiError(f"the stream of {self.job_id} broke: {why}")
        return self.retry.pause(self._failures)


def refuse_stream(reply: httpx.Response) -> None:
    """Raises what a stream's opening says: httpx.TransportError when it may do later, else ApiError."""
    if reply.status_code in RETRIED_STATUSES:
        raise httpx.RemoteProtocolError(f"HTTP {reply.status_code}", request=reply.request)
    raise refusal(reply)


def refuse_answer(reply: httpx.Response) -> None:
    """Raises ApiError: an answer is asked for once."""
    raise refusal(reply)


def delta(line: str) -> str:
    """The text that one line of a chat's stream brings. Raises ApiError when it tells of a fault."""
    if not line.startswith("data:") or line[5:].strip() == "[DONE]":
        return ""
    body = json.loads(line[5:])
    if "error" in body:
        raise ApiError(str(body["error"].get("message", "the answer broke off")))
    choices = body.get("choices") or [{}]
    return str((choices[0].get("delta") or {}).get("content") or choices[0].get("text") or "")
