import os
import time

import pytest

from rlhf_service.errors import OperatorUncompiled
from rlhf_service.learner.compiled import ABANDONED_SECONDS, compiling, forget_abandoned_locks


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


@pytest.mark.parametrize(
    ("complaint", "said"),
    [
        (
            "x.cpp:1:10: fatal error: Python.h: No such file",
            "Python.h: No such file; `rlhf doctor`",
        ),
        ("/bin/sh: 1: c++: not found", "c[+][+]: not found; `rlhf doctor`"),
        ("Segmentation fault", "the log has the compiler's output; `rlhf doctor`"),
    ],
)
def test_an_operator_that_does_not_compile_is_said_in_one_line(complaint, said):
    text = f"Error building extension 'op': [1/2] c++ -c x.cpp\n{complaint}\nninja: build stopped."
    with pytest.raises(OperatorUncompiled, match=said) as raised, compiling():
        raise RuntimeError(text)
    assert "\n" not in str(raised.value)


def test_another_fault_while_operators_are_built_stays_itself():
    with pytest.raises(RuntimeError, match="Connection closed"), compiling():
        raise RuntimeError("Connection closed by peer")
