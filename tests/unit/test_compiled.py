import os
import time

from rlhf_service.learner.compiled import ABANDONED_SECONDS, forget_abandoned_locks


def test_a_killed_compilers_lock_goes_and_a_working_ones_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    long_ago = time.time() - ABANDONED_SECONDS - 60
    locks = {}
    for name in ("killed", "at-work"):
        folder = tmp_path / "py311_cpu" / name
        folder.mkdir(parents=True)
        locks[name] = folder / "lock"
        locks[name].touch()
        os.utime(locks[name], (long_ago, long_ago))
    (tmp_path / "py311_cpu" / "at-work" / "part.o").touch()
    assert forget_abandoned_locks() == [locks["killed"]]
    assert not locks["killed"].exists() and locks["at-work"].exists()


def test_nothing_compiled_yet_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "none"))
    assert forget_abandoned_locks() == []
