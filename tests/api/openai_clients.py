"""The versions of the openai package that are tested, each in a folder of its own.

`python -m tests.api.openai_clients` installs those that are missing. Without their requirements: the
environment has newer ones, with which every version works.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

VERSIONS = ("1.109.1", "2.54.0", "3.57.0")
"""The newest of each major version."""
FOLDER = Path(sys.prefix) / "openai-clients"


def installed(version: str) -> Path:
    """The folder of a version."""
    folder = FOLDER / version
    if not (folder / "openai").is_dir():
        partial = FOLDER / f".{version}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        command = [*pip, "--no-deps", "--target", str(partial), f"openai=={version}"]
        subprocess.run(command, check=True, timeout=300)
        partial.rename(folder)
    return folder


if __name__ == "__main__":
    for each in VERSIONS:
        installed(each)
