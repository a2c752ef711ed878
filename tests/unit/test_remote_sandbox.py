"""What Python of a user's own can and cannot do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from rlhf_service.errors import SpecError
from rlhf_service.records import Score, ScoreFailure
from rlhf_service.reward.operator import Operator, PythonMode
from rlhf_service.reward.sandbox import command
from rlhf_service.reward.sandbox.python import PythonGrader
from rlhf_service.spec.judges import PythonReward
from tests.unit.test_reward_kinds import rollout

ISOLATED = Operator(python=PythonMode.ISOLATED)


def can_isolate():
    if shutil.which("bwrap") is None:
        return False
    try:
        PythonGrader(PythonReward(source="def grade(sample, item): return 1"), ISOLATED)
    except SpecError:
        return False
    return True


sandboxed = pytest.mark.skipif(not can_isolate(), reason="bubblewrap cannot isolate here")


def grade(source, *answers, operator=ISOLATED, timeout=2.0, deadline=20.0, memory_mb=256, **item):
    spec = PythonReward(source=source, timeout=timeout, deadline=deadline, memory_mb=memory_mb)
    texts = answers or ("a",)
    return PythonGrader(spec, operator).score([rollout(text, **item) for text in texts])


def body(*lines):
    return "def grade(sample, item):\n" + "".join(f"    {line}\n" for line in lines)


def values(outcomes):
    return [o.value if isinstance(o, Score) else o.kind for o in outcomes]


@sandboxed
def test_grades_see_the_sample_and_the_item():
    source = "import math, json, re, decimal, statistics, difflib, datetime\n" + body(
        "bonus = sample['output_json']['n'] if sample['output_json'] else 0",
        "return len(sample['output_text']) + item['base'] + bonus",
    )
    assert values(grade(source, "abc", '{"n": 5}', "é", base=10)) == [13.0, 23.0, 11.0]


@sandboxed
def test_each_item_fails_alone():
    source = body(
        "kinds = {'nan': float('nan'), 'inf': float('inf'), 'text': 'x', 'none': None, 'true': True}",
        "text = sample['output_text']",
        "if text == 'exit': raise SystemExit(3)",
        "return kinds[text] if text in kinds else 1 / int(text)",
    )
    outcomes = grade(source, "2", "0", "nan", "inf", "text", "none", "true", "exit", "x", "4")
    assert values(outcomes) == [
        *(0.5, "raised", "not_finite", "not_finite", "bad_answer", "bad_answer"),
        *(1.0, "raised", "raised", 0.25),
    ]
    assert outcomes[1].message == "ZeroDivisionError: division by zero"


@sandboxed
def test_a_source_that_raises_when_loaded_fails_every_item():
    outcomes = grade("import nonesuch\n" + body("return 1"), "a", "b")
    assert values(outcomes) == ["raised", "raised"]
    assert "nonesuch" in outcomes[0].message


@sandboxed
def test_an_endless_loop_is_ended_and_the_next_item_graded():
    source = body("while sample['output_text'] == 'loop': pass", "return 1")
    started = time.monotonic()
    assert values(grade(source, "a", "loop", "b", timeout=0.4)) == [1.0, "timeout", 1.0]
    assert time.monotonic() - started < 15


@sandboxed
def test_the_deadline_bounds_the_batch():
    outcomes = grade(body("while True: pass"), *"abcdef", timeout=0.3, deadline=0.5)
    assert values(outcomes) == ["timeout"] * 6
    assert "within the batch's" in outcomes[-1].message


@sandboxed
@pytest.mark.parametrize(
    "hog",
    [
        "x = bytearray(2**30)",
        "x = [b'0' * 2**20 for _ in range(2**20)]",
        "x = '0' * 10**10",
    ],
)
def test_memory_is_bounded(hog):
    source = body("if sample['output_text'] == 'hog':", f"    {hog}", "return 1")
    assert values(grade(source, "hog", "a")) == ["resource", 1.0]


@sandboxed
@pytest.mark.parametrize(
    "call",
    [
        "os.fork()",
        "subprocess.run(['/bin/sh', '-c', 'true'])",
        "threading.Thread(target=print).start()",
        "multiprocessing.Process(target=print).start()",
    ],
)
def test_no_further_processes_or_threads(call):
    source = "import os, subprocess, threading, multiprocessing\n" + body(call, "return 1")
    assert values(grade(source)) == ["raised"]


@sandboxed
def test_a_fork_bomb_is_bounded():
    lines = ("import os", "made = 0", "for _ in range(1000):", "    try:", "        os.fork()")
    lines += ("        made += 1", "    except OSError:", "        pass", "return made")
    assert values(grade(body(*lines))) == [0.0]


@sandboxed
def test_no_network():
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        port = listener.getsockname()[1]
        source = "import socket\n" + body(
            "names = [name for _, name in socket.if_nameindex()]",
            "assert names == ['lo'], names",
            f"socket.create_connection(('127.0.0.1', {port}), 1)",
            "return 1",
        )
        [outcome] = grade(source)
    assert outcome.kind == "raised"
    assert "OSError" in outcome.message or "Connection" in outcome.message
    [outcome] = grade("import socket\n" + body("socket.getaddrinfo('example.com', 80)", "return 1"))
    assert outcome.kind == "raised"


@sandboxed
@pytest.mark.parametrize("folder", ["", "/", "/tmp/", "/python/", "/usr/", "/dev/shm/", "/lib/"])
def test_nothing_can_be_written(folder):
    for made in (f"open('{folder}x', 'w').write('x')", f"os.mkdir('{folder}y')"):
        [outcome] = grade("import os\n" + body(made, "return 1"))
        assert outcome.kind == "raised"


@sandboxed
def test_the_service_cannot_be_seen(tmp_path, monkeypatch):
    """Neither its files, nor its environment, nor its descriptors, nor its processes."""
    monkeypatch.setenv("RLHF_TEST_SECRET", "hunter2")
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    tmp_path.chmod(0o755)
    secret.chmod(0o644)
    here = Path(__file__).resolve()
    outside = [str(secret), str(here), "/etc/passwd", "/proc/self/environ", "/proc/1/environ"]
    held = os.open(secret, os.O_RDONLY)
    os.set_inheritable(held, True)
    source = "import os\n" + body(
        f"found = [path for path in {outside!r} if os.path.exists(path)]",
        "assert not found, found",
        "assert 'hunter2' not in os.environ.values(), os.environ",
        "seen = sorted(os.listdir('/'))",
        "assert set(seen) <= {'lib', 'lib32', 'lib64', 'python', 'usr'}, seen",
        "assert os.getuid() == 65534 and os.getgroups() in ([], [65534]), os.getgroups()",
        "for process in range(1, 3):",
        "    try: os.kill(process, 9)",
        "    except PermissionError: pass",
        "for number in range(6, 32):",
        "    try: os.fstat(number)",
        "    except OSError: continue",
        "    raise AssertionError(number)",
        "return 1",
    )
    # Its own process may be among the two: being ended is as good.
    try:
        [outcome] = grade(source.replace("range(1, 3)", "range(1, 2)"))
    finally:
        os.close(held)
    assert outcome == Score(value=1.0, components={"python": 1.0})


@sandboxed
@pytest.mark.parametrize(
    "last",
    ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.closerange(0, 32)", "ctypes.string_at(0)"],
)
def test_a_process_that_ends_is_replaced(last):
    source = "import ctypes, os\n" + body(f"if sample['output_text'] == 'end': {last}", "return 1")
    assert values(grade(source, "a", "end", "b"))[::2] == [1.0, 1.0]
    assert values(grade(source, "end"))[0] in ("resource", "raised")


@sandboxed
def test_what_a_grader_prints_is_no_reply():
    noise = 'print(\'{"id": 0, "value": 9.0}\', flush=True)'
    assert values(grade(body(noise, "os = __import__('os')", "os.system", "return 1"))) == [1.0]


@sandboxed
def test_forged_and_endless_replies_end_the_process():
    forged = 'b\'{"id": 77, "value": 9.0}\\n\''
    for said in (forged, "b'x' * 60000", "b'[1]\\n'", "b'\\xff\\n'"):
        lines = ("for number in range(3, 32):", "    for _ in range(3):")
        lines += (f"        try: os.write(number, {said})", "        except OSError: pass")
        outcomes = grade("import os\n" + body(*lines, "return 1"))
        assert values(outcomes) in (["resource"], ["timeout"]), said


@sandboxed
def test_limits_cannot_be_raised():
    source = "import resource\n" + body(
        "for limit in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):",
        "    try: resource.setrlimit(limit, (resource.RLIM_INFINITY,) * 2)",
        "    except (ValueError, OSError): continue",
        "    raise AssertionError(limit)",
        "return 1",
    )
    assert values(grade(source)) == [1.0]


@sandboxed
def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mark = f"grader mark {os.getpid()}"
    grade(body(f"{mark!r}", "while True: pass"), timeout=0.2)
    assert list(tmp_path.iterdir()) == []
    children = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    assert "bwrap" not in children.stdout


def test_off_by_default():
    with pytest.raises(SpecError, match="RLHF_ALLOW_PYTHON_GRADERS"):
        grade(body("return 1"), operator=Operator())


def test_without_bubblewrap_nothing_runs(monkeypatch):
    monkeypatch.setattr(command.shutil, "which", lambda name: None)
    with pytest.raises(SpecError, match="install it"):
        grade(body("return 1"))


def test_a_sandbox_that_fails_is_an_error_with_its_reason(monkeypatch):
    # Any program that refuses the option will do.
    program = shutil.which("bwrap") or sys.executable
    monkeypatch.setattr(command.shutil, "which", lambda name: program)
    monkeypatch.setattr(command, "isolation", lambda: ["--no-such-option"])
    with pytest.raises(SpecError, match=r"cannot be had here: .*no-such-option"):
        grade(body("return 1"))


def test_the_weak_mode_limits_only():
    weak = Operator(python=PythonMode.WEAK)
    source = body(
        "while sample['output_text'] == 'loop': pass", "return len(sample['output_text'])"
    )
    assert values(grade(source, "ab", "loop", "abc", operator=weak, timeout=0.5)) == [
        *(2.0, "timeout", 3.0)
    ]
    [outcome] = grade(body("open('x', 'w').write('x')", "return 1"), operator=weak)
    assert isinstance(outcome, ScoreFailure)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def grade(sample, item:\n", "line 1"),
        ("def score(sample, item): return 1", "must define"),
        ("def grade(sample): return 1", "must define"),
        ("async def grade(sample, item): return 1", "must define"),
        ("x = '\0'", "null bytes"),
        ("(" * 3000, "(nested|deep|closed|complex)"),
    ],
)
def test_sources_that_cannot_grade_are_refused_at_once(source, said):
    with pytest.raises(ValidationError, match=said):
        PythonReward(source=source)
