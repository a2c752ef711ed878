"""Follows a job in a thread of its own and redraws what the notebook shows of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rlhf_service.client.address import Address
from rlhf_service.client.errors import ApiError
from rlhf_service.client.live.html import live_card
from rlhf_service.client.live.picture import Picture
from rlhf_service.job import JobStatus

EVERY = 0.5
"""Seconds between two drawings."""


Draw = Callable[[str], object]
"""Shows HTML in the place where it was shown before."""


class LiveView:
    """A job that shows itself. `job.watch()` makes one."""

    def __init__(self, address: Address, job_id: str, name: str = "") -> None:
        self.job_id = job_id
        self.picture = Picture()
        self._address = address
        self._name = name or job_id
        self._trouble = ""
        self._drawings: list[Draw] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def status(self) -> JobStatus | None:
        """As far as the log has been read."""
        return self.picture.status.status if self.picture.status else None

    def start(self) -> LiveView:
        """Begin to follow; once is enough."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._follow, name=f"watching {self.job_id}", daemon=True
                )
                self._thread.start()
        return self

    def wait(self, timeout: float | None = None) -> JobStatus | None:
        """Hold until the job ends, or `timeout` seconds; interrupting it ends the waiting alone."""
        self.start()
        end = None if timeout is None else time.monotonic() + timeout
        thread = self._thread
        while thread is not None and thread.is_alive():
            if end is not None and time.monotonic() >= end:
                break
            thread.join(0.2 if end is None else min(0.2, max(0.0, end - time.monotonic())))
        return self.status

    def stop(self) -> None:
        """No longer follow; what is shown stays."""
        self._stop.set()

    def draw_by(self, draw: Draw) -> None:
        """Keep what `draw` shows up to date from now on."""
        with self._lock:
            self._drawings.append(draw)
        self.start()

    def _repr_html_(self) -> str:
        return live_card(self.job_id, self._name, self.picture, self._trouble)

    def __repr__(self) -> str:
        stages = ", ".join(f"{s.name} {s.step}/{s.steps}" for s in self.picture.stages.values())
        return f"{self.job_id}: {self.status or 'not read yet'}" + (
            f" ({stages})" if stages else ""
        )

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display  # type: ignore[import-not-found,unused-ignore]

        place = display(HTML(self._repr_html_()), display_id=True)
        self.draw_by(lambda html: place.update(HTML(html)))

    def _follow(self) -> None:
        # A client of this thread's own; the one that made the job may be closed meanwhile.
        from rlhf_service.client.sync import Client

        drawn = 0.0
        try:
            with Client(self._address.url, self._address.api_key) as client:
                self._name = client.jobs.get(self.job_id).name
                for stored in client.jobs.stream(self.job_id):
                    self.picture.take(stored)
                    if self._stop.is_set():
                        return
                    if time.monotonic() - drawn >= EVERY:
                        drawn = time.monotonic()
                        self._draw()
        except ApiError as fault:
            self._trouble = str(fault)
        finally:
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            drawings = list(self._drawings)
        for draw in drawings:
            draw(self._repr_html_())
