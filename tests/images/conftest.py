"""Images built once for all tests of them."""

from __future__ import annotations

import pytest

from tests.images.podman import build


@pytest.fixture(scope="session")
def control_plane_image() -> str:
    return build("control-plane")


@pytest.fixture(scope="session")
def worker_image() -> str:
    return build("worker-cpu")
