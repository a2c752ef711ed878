"""Variables of the process are as they were, however the block ends."""

from __future__ import annotations

import os

import pytest

from rlhf_service.variables import variables


def test_values_hold_inside_and_are_as_before_outside(monkeypatch):
    monkeypatch.setenv("RLHF_TEST_KNOWN", "before")
    monkeypatch.delenv("RLHF_TEST_NEW", raising=False)
    with pytest.raises(ValueError), variables(RLHF_TEST_KNOWN="inside", RLHF_TEST_NEW="inside"):
        assert os.environ["RLHF_TEST_KNOWN"] == os.environ["RLHF_TEST_NEW"] == "inside"
        raise ValueError
    assert os.environ["RLHF_TEST_KNOWN"] == "before"
    assert "RLHF_TEST_NEW" not in os.environ
