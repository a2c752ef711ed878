"""The real helm."""

from __future__ import annotations

import pytest

from tests.helm.chart import NoHelm, helm


@pytest.fixture(scope="session")
def real_helm() -> str:
    """Path of the binary; tests that need it are skipped where there is none."""
    try:
        return helm()
    except NoHelm as missing:
        pytest.skip(str(missing))
