"""Ray's dashboard, to look at: its pages and figures are fetched with Ray's token, which stays here."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from api.service.faults import Fault, NotFound
from api.settings import Settings

SHOWN = re.compile(
    r"|favicon\.ico|static/.+|speedscope-[\d.]+/.+"
    r"|api/(version|authentication_mode|cluster_status|component_activities|profiling_enabled)"
    r"|api/(grafana_health|prometheus_health|gcs_healthz)|timezone|cluster_id|usage_stats_enabled"
    r"|events|nodes(/[^/]+)?|logical/actors(/[^/]+)?"
    r"|api/jobs/([^/]+(/logs)?)?|api/serve/applications/|api/data/datasets/[^/]+"
    r"|api/train/v2/runs(/v1)?"
    r"|api/v0/(tasks|actors|objects)(/summarize)?|api/v0/tasks/timeline"
    r"|api/v0/(nodes|workers|jobs|placement_groups|runtime_envs|runtime_env_redaction)"
    r"|api/v0/(cluster_metadata|cluster_events|platform_events)|api/v0/logs(/(file|stream))?"
)
"""What only looks. Of Ray's GET addresses some do more (attach a profiler, kill an actor): they,
and those that a later Ray adds, are not passed on.
"""
SENT = ("accept", "accept-language", "if-none-match", "if-modified-since")
"""Headers of the caller that Ray sees: no cookie and no key of ours is among them."""
GIVEN_BACK = ("content-type", "content-length", "etag", "last-modified", "content-disposition")
"""Headers of Ray that the caller sees: no cookie of Ray's, nothing of one connection alone."""
CONNECT_SECONDS, SILENCE_SECONDS = 5.0, 60.0
MOST_AT_ONCE = 32


class DashboardUnreachable(Fault):
    """Ray's dashboard does not answer."""

    status, code = 502, "dashboard_unreachable"


@dataclass(frozen=True, slots=True)
class Seen:
    """Ray's answer."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


class Dashboard:
    """What the routes under `/ray/` call."""

    def __init__(self, settings: Settings) -> None:
        self.address = settings.ray_address.rstrip("/")
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS),
            limits=httpx.Limits(max_connections=MOST_AT_ONCE),
            trust_env=False,
        )

    @asynccontextmanager
    async def look(
        self, method: str, path: str, query: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[Seen]:
        """GET or HEAD one address of the dashboard. Raises NotFound or DashboardUnreachable."""
        if not SHOWN.fullmatch(path) or set(path.split("/")) & {".", ".."}:
            raise NotFound("the dashboard shows no such thing here", "path")
        url = httpx.URL(f"{self.address}/{quote(path)}").copy_with(query=query or None)
        token = ray_token()
        sent = {name: headers[name] for name in SENT if name in headers}
        # Ray's own compression would hide from us what it says.
        sent |= {"accept-encoding": "identity", "user-agent": "rlhf-service"}
        if token:
            sent["authorization"] = f"Bearer {token}"
        try:
            async with self._client.stream(method, url, headers=sent) as answer:
                if answer.status_code in (401, 403):
                    raise DashboardUnreachable("Ray does not take this service's token")
                given = {n: answer.headers[n] for n in GIVEN_BACK if n in answer.headers}
                if "content-encoding" in answer.headers:
                    given.pop("content-length", None)
                yield Seen(answer.status_code, given, without(token, answer.aiter_bytes()))
        except (httpx.TransportError, httpx.InvalidURL) as fault:
            raise DashboardUnreachable(
                f"Ray's dashboard does not answer ({type(fault).__name__})"
            ) from None

    async def close(self) -> None:
        await self._client.aclose()


def ray_token() -> str:
    """The cluster's token, from where Ray's own clients take it; empty where Ray asks for none."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return ""
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given.strip()
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


async def without(secret: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes with `*` where the secret stood, were a log ever to have printed it."""
    hidden, kept = secret.encode(), b""
    stars = b"*" * len(hidden)
    async for piece in pieces:
        if not hidden:
            yield piece
            continue
        kept = (kept + piece).replace(hidden, stars)
        # The end may be the beginning of the secret; the rest of it is in the next piece.
        held = next((n for n in range(len(hidden) - 1, 0, -1) if kept.endswith(hidden[:n])), 0)
        done, kept = kept[: len(kept) - held], kept[len(kept) - held :]
        if done:
            yield done
    if kept:
        yield kept
