"""A package that is hidden while another one is imported."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import pytest

from rlhf_service.learner.without import without


def test_a_package_is_missing_inside_and_there_afterwards(monkeypatch):
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with pytest.raises(ImportError), without("wave"):
        importlib.import_module("wave")
    assert importlib.import_module("wave")


def test_what_is_loaded_already_stays():
    wave = importlib.import_module("wave")
    with without("wave"):
        assert importlib.import_module("wave") is wave


def test_the_engine_loads_no_experiment_tracker():
    """MLflow is half of DeepSpeed's import, and only its autotuner wants it."""
    words = "import sys, rlhf_service.learner.deepspeed; print('mlflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split()[-1:] == ["False"], done.stderr[-2000:]
    assert importlib.util.find_spec("mlflow"), "the test needs it installed"
