"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A loaded machine is slow now and then; how long an example takes is no property of the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")
