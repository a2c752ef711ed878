"""The real helm and kubectl."""

from __future__ import annotations

import pytest

from tests.helm.binaries import NotThere, binary


@pytest.fixture(scope="session")
def real_helm() -> str:
    """Path of the binary; tests that need it are skipped where there is none."""
    return found("helm")


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The same of kubectl."""
    return found("kubectl")


def found(name: str) -> str:
    try:
        return binary(name)
    except NotThere as missing:
        pytest.skip(str(missing))
