"""The doctor: each look finds what is wrong, and every fault comes with its remedy."""

from __future__ import annotations

import json
import socket
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from rlhf_service.cli.app import app
from rlhf_service.cli.doctor import command, machine, software
from rlhf_service.cli.doctor.finding import Level, fail, ok, warn
from rlhf_service.cli.doctor.service import service
from rlhf_service.cli.doctor.vllm import vllm
from rlhf_service.client.address import Address, config_file, keep

Usage = namedtuple("Usage", "total used free")
GIB = 2**30
runner = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("RLHF_URL", "RLHF_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10, 1), "fail"), ((3, 11, 0), "ok"), ((3, 13, 0), "warn")]
)
def test_python(version, level):
    assert software.python(version).level == level


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo 'fatal error: Python.h: no such file' >&2; exit 1", "python3-dev"),
        ("echo 'unsupported option -fopenmp' >&2; exit 1", "install GCC"),
        ("exit 1", "install g++ anew"),
    ],
)
def test_a_compiler_that_does_not_compile(tmp_path, text, says):
    found = software.compiler({"CXX": str(program(tmp_path / "cxx", text))})
    assert found.level is Level.FAIL and says in found.remedy


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = software.compiler({})
    assert found.level is Level.FAIL and "apt-get install g++" in found.remedy


def test_packages_in_wrong_versions_are_named_one_by_one(monkeypatch):
    wanted = ["rich>=9999", "no-such-package>=1", "httpx>=0.1", "nothing; extra == 'dev'"]
    monkeypatch.setattr(software.metadata, "requires", lambda _: wanted)
    found = software.packages()
    assert [finding.name for finding in found] == ["rich", "no-such-package"]
    assert all(finding.level is Level.FAIL and finding.remedy for finding in found)
    monkeypatch.setattr(software.metadata, "requires", lambda _: ["httpx>=0.1"])
    assert [finding.level for finding in software.packages()] == [Level.OK]


@pytest.mark.parametrize(
    ("free", "level"), [(0.5, "fail"), (1.9, "fail"), (3.0, "warn"), (8.0, "ok")]
)
def test_memory_is_what_the_container_leaves(monkeypatch, free, level):
    monkeypatch.setattr(machine, "allowed", lambda: free * GIB)
    monkeypatch.setattr(
        machine.psutil, "virtual_memory", lambda: namedtuple("M", "available")(64 * GIB)
    )
    assert machine.memory().level == level


def test_a_containers_limit_is_read(tmp_path):
    assert machine.allowed(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.allowed(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert machine.allowed(tmp_path) == 600


@pytest.mark.parametrize(
    ("used", "free", "level"),
    [(10, 0.5, "fail"), (10, 3, "warn"), (10, 50, "ok"), (990, 10, "warn"), (990, 0.5, "fail")],
)
def test_disk(tmp_path, monkeypatch, used, free, level):
    usage = Usage((used + free) * GIB, used * GIB, free * GIB)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    assert machine.disk(tmp_path / "not" / "yet").level == level


def test_storage_that_cannot_be_written(tmp_path, monkeypatch):
    assert machine.storage(tmp_path / "new").level is Level.OK
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    assert machine.storage(tmp_path / "new").level is Level.FAIL
    (tmp_path / "file").write_text("")
    assert machine.storage(tmp_path / "file" / "below").level is Level.FAIL


def test_shared_memory_of_a_container(tmp_path, monkeypatch):
    assert machine.shared_memory(tmp_path / "none").level is Level.WARN
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage(64e6, 0, 64e6))
    assert "--shm-size" in machine.shared_memory(tmp_path).remedy


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        assert machine.port(number).level is Level.WARN
    assert machine.port(number).level is Level.OK


def test_a_gpu_that_pytorch_cannot_use(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software.gpu().level is Level.OK
    program(tmp_path / "nvidia-smi", "echo 'NVIDIA H100'; echo 'NVIDIA H100'")
    monkeypatch.setattr(software.metadata, "version", lambda _: "2.13.0+cpu")
    found = software.gpu()
    assert found.level is Level.WARN and found.said.startswith("2 x NVIDIA H100")
    monkeypatch.setattr(software.metadata, "version", lambda _: "2.13.0+cu130")
    assert software.gpu().level is Level.OK


def test_the_sandbox(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software.sandbox().level is Level.WARN
    program(tmp_path / "bwrap", "echo 'no permission' >&2; exit 1")
    assert "no permission" in software.sandbox().said
    program(tmp_path / "bwrap", "exit 0")
    assert software.sandbox().level is Level.OK


CHECKS = {"database": "ok", "storage": "ok", "reconciler": "ok", "cluster": "ok"}


def answers(checks=CHECKS, status=200, key_status=200) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/readyz":
            return httpx.Response(status, json={"ready": status == 200, "checks": checks})
        return httpx.Response(key_status, json={"data": [], "detail": "revoked"})

    return httpx.MockTransport(answer)


def levels(found) -> dict[str, str]:
    return {finding.name: str(finding.level) for finding in found}


def test_a_service_that_is_well():
    keep(Address("http://s", "k"), config_file())
    found = service(answers())
    assert set(levels(found).values()) == {"ok"} and "API key" in levels(found)


def test_each_part_of_a_service_that_is_not():
    keep(Address("http://s", "k"), config_file())
    found = service(answers({**CHECKS, "cluster": "no answer", "database": "gone"}, 503, 401))
    assert levels(found) == {
        "Service": "ok",
        "API": "ok",
        "Service's database": "fail",
        "Service's storage": "ok",
        "Service's reconciler": "ok",
        "Ray": "fail",
        "API key": "fail",
    }
    assert all(finding.remedy for finding in found if finding.level is Level.FAIL)


def test_no_service_a_stranger_and_nobody(monkeypatch):
    assert levels(service()) == {"Service": "warn"}
    keep(Address("http://127.0.0.1:1", "k"), config_file())
    assert levels(service()) == {"Service": "ok", "API": "fail"}
    stranger = httpx.MockTransport(lambda _: httpx.Response(200, text="hello"))
    assert levels(service(stranger)) == {"Service": "ok", "API": "fail"}


def test_a_key_that_others_can_read():
    keep(Address("http://s", "k"), config_file())
    config_file().chmod(0o644)
    assert levels(service(answers()))["Key file"] == "warn"


@pytest.mark.parametrize(
    ("found", "code", "says"),
    [
        ([ok("a", "x")], 0, "all is well"),
        ([ok("a", "x"), warn("b", "[y]", "do z")], 0, "1 to know of"),
        ([fail("a", "x", "do y"), warn("b", "y", "z")], 1, "1 to mend, 1 to know of"),
    ],
)
def test_the_command_tells_and_ends_with_the_worst(monkeypatch, found, code, says):
    monkeypatch.setattr(command, "findings", lambda *_: iter(found))
    ran = runner.invoke(app, ["doctor"])
    assert ran.exit_code == code and says in ran.output
    for finding in found:
        assert finding.said in ran.output and finding.remedy in ran.output
    told = runner.invoke(app, ["doctor", "--json"])
    assert told.exit_code == code
    assert [item["level"] for item in json.loads(told.output)] == [f.level for f in found]


def test_this_machine_is_looked_at_for_real(tmp_path):
    ran = runner.invoke(app, ["doctor", "--json", "--folder", str(tmp_path), "--port", "0"])
    found = {item["name"]: item for item in json.loads(ran.output)}
    assert found["Packages"]["level"] == "ok"
    assert found["C++ compiler"]["level"] == "ok"
    assert found["Python"]["said"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    ("text", "level", "says"),
    [
        ('echo \'[[{major}, {minor}], "{ray}", "0.32.0"]\'', "ok", "0.32.0 in"),
        ('echo \'[[{major}, {minor}], "2.1.0", "0.32.0"]\'', "fail", "Ray 2.1.0, which cannot"),
        ("echo \"No module named 'vllm'\" >&2; exit 1", "fail", "No module named 'vllm'"),
    ],
)
def test_the_environment_of_vllm_is_looked_into(tmp_path, text, level, says):
    major, minor = sys.version_info[:2]
    text = text.format(major=major, minor=minor, ray=metadata.version("ray"))
    python = program(tmp_path / "python", text)
    found = vllm({"RLHF_VLLM_PYTHON": str(python)})
    assert found.level == level and says in found.said
    assert (found.remedy == "") == (level == "ok")


def test_vllm_is_a_choice():
    assert vllm({}).level is Level.OK
    absent = vllm({"RLHF_VLLM_PYTHON": "/nowhere/python"})
    assert absent.level is Level.FAIL and "make vllm" in absent.remedy
