"""Tests of vLLM, which `make test-vllm` runs: they are collected where it names the environment.

`test_engine.py` and `test_steps.py` run inside that environment, `test_job.py` in the project's own.
"""

from __future__ import annotations

import os

from rlhf_service.spec.rollout import VLLM_PYTHON

collect_ignore_glob = [] if os.environ.get(VLLM_PYTHON) else ["test_*"]
