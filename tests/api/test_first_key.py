"""The first key, before any event loop runs."""

from __future__ import annotations

from api.service.keys import create_first_key
from api.settings import Settings


def test_the_first_key_is_made_once(settings: Settings) -> None:
    secret = create_first_key(settings)
    assert secret is not None
    assert secret.startswith("rlhf_")
    assert create_first_key(settings) is None
