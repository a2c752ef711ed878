"""What a terminal's Ctrl-C reaches."""

from __future__ import annotations

import os


def test_the_children_are_out_of_a_terminals_reach(service):
    """Ctrl-C goes to every process of the session's foreground group; the supervisor stops the rest."""
    assert service.api_pid is not None and service.cluster.pid is not None
    for child in (service.api_pid, service.cluster.pid):
        assert os.getsid(child) == child != os.getsid(0)
