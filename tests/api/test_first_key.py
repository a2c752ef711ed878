"""The first key, before any event loop runs."""

from __future__ import annotations

import stat
from pathlib import Path

from api.service.keys import create_first_key
from api.settings import Settings
from tests.api.conftest import make_settings


def test_the_first_key_is_made_once(settings: Settings) -> None:
    secret = create_first_key(settings)
    assert secret is not None
    assert secret.startswith("rlhf_")
    assert create_first_key(settings) is None


def test_the_folder_of_secrets_is_the_services_alone(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "")
    assert create_first_key(settings) is not None
    assert stat.S_IMODE(settings.control.stat().st_mode) == 0o700
