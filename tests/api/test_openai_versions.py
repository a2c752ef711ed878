"""The same flow through each major version of the openai package."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from rlhf_service.cli.app import app
from rlhf_service.events import CheckpointSaved
from rlhf_service.manifest import MANIFEST, checkpoint_name
from rlhf_service.models.build import build_scratch
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.spec import JobSpec
from rlhf_service.storage import JobFolder
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.openai_clients import VERSIONS, installed
from tests.api.served import CHAT, Served, lines, served, until
from tests.api.tuning import model_folder
from tests.api.world import step

FLOW = Path(__file__).with_name("openai_flow.py")


@dataclass(frozen=True, slots=True)
class Finished:
    """A server with a fine-tuned model and a checkpoint that speak."""

    here: Served
    model: str
    checkpoint: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    settings = make_settings(
        tmp_path_factory.mktemp("here"),
        "",
        reconcile=True,
        reconcile_interval=0.05,
        generation_models=2,
        generation_timeout=500,
        generation_threads=1,
    )
    with served(settings, FakeLauncher()) as here, here.http() as http:
        form = {"file": ("rows.jsonl", lines([{"messages": CHAT}]))}
        file = http.post("/v1/files", files=form, data={"purpose": "fine-tune"}).json()["id"]
        scratch = {"hidden_size": 16, "num_heads": 2, "num_layers": 1, "vocab_size": 300}
        asked = {"model": "scratch", "training_file": file, "rlhf": {"model": scratch}}
        job = http.post("/v1/fine_tuning/jobs", json=asked).json()["id"]
        here.begin(job)
        here.say(job, step(1), CheckpointSaved(stage="sft", step=1, path="/x", seconds=1))
        train(settings.folder(job))
        here.launcher.succeed(here.submitted(job))
        path = f"/v1/fine_tuning/jobs/{job}"
        until(lambda: http.get(path).json()["status"] == "succeeded")
        [saved] = http.get(f"{path}/checkpoints").json()["data"]
        model = http.get(path).json()["fine_tuned_model"]
        # Both lists give the checkpoint the same name.
        [listed] = http.get(f"/v1/jobs/{job}/checkpoints").json()["data"]
        assert listed["model"].startswith(f"{model}:ckpt-sft-step-")
        made = Finished(here, model, saved["fine_tuned_model_checkpoint"])
        # Starting torch once to export and twice to speak takes longest of all; it goes on beside
        # everything in the first flow that comes before its chats.
        with ThreadPoolExecutor(2) as starting:
            spoke = [starting.submit(speak, here, name) for name in (model, made.checkpoint)]
            yield made
            assert [one.result() for one in spoke] == [200, 200]


def speak(here: Served, model: str) -> int:
    with here.http() as http:
        asked = {"model": model, "prompt": "good", "max_tokens": 1}
        return http.post("/v1/completions", json=asked, timeout=500).status_code


def train(folder: JobFolder) -> None:
    """What a job leaves: a model, and a checkpoint with other weights."""
    spec = JobSpec.model_validate_json(folder.spec.read_text())
    tokenizer = train_tokenizer(["good film", "bad film"], 300)
    tokenizer.save_pretrained(folder.tokenizer("sft"))
    build_scratch(spec.model, tokenizer, seed=1).save_pretrained(folder.model)  # type: ignore[arg-type]
    tokenizer.save_pretrained(folder.model)
    saved = folder.checkpoints / checkpoint_name("sft", 1)
    (saved / "policy").mkdir(parents=True)
    state = build_scratch(spec.model, tokenizer, seed=2).state_dict()  # type: ignore[arg-type]
    torch.save([state, {}], saved / "policy" / "state.pt")
    size = (saved / "policy" / "state.pt").stat().st_size
    manifest = {"stage": "sft", "step": 1, "ranks": 1, "files": {"policy/state.pt": size}}
    (saved / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_flow(finished: Finished, version: str) -> None:
    here = finished.here
    command = [sys.executable, "-I", str(FLOW), str(installed(version)), here.base_url, here.key]
    command += [finished.model, finished.checkpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flow:
        try:
            assert flow.stdout is not None
            job_id = flow.stdout.readline().strip()
            assert job_id, "the flow ended before it made a job"
            here.begin(job_id)
            here.say(job_id, step(1), CheckpointSaved(stage="sft", step=1, path="/x", seconds=1))
            model_folder(here.settings.folder(job_id).model)
            here.launcher.succeed(here.submitted(job_id))
            rest, _ = flow.communicate(timeout=560)
        finally:
            flow.kill()
    assert flow.returncode == 0
    assert rest.split() == ["ok", version]


def test_the_command_line_talks_to_the_same_models(finished: Finished) -> None:
    """Whole conversations are in tests/unit/test_cli_chat.py; here the service is the real one."""
    here = finished.here
    environment = {"RLHF_URL": here.root, "RLHF_API_KEY": here.key}
    sampling = "--seed", "3", "--max-new-tokens", "4", "--prompt", "good"
    saved = "--checkpoint", finished.checkpoint.rpartition(":ckpt-")[2]

    def chat(*words: str) -> str:
        ran = CliRunner().invoke(app, ["chat", *words, *sampling], env=environment)
        assert ran.exit_code == 0, ran.output
        return ran.output

    with here.http() as http:
        for words, name in (
            ((finished.model,), finished.model),
            ((finished.model, *saved), finished.checkpoint),
        ):
            asked = {"model": name, "prompt": "good", "max_tokens": 4, "seed": 3}
            whole = http.post("/v1/completions", json=asked, timeout=500).json()
            assert chat(*words) == whole["choices"][0]["text"] + "\n"
    gone = CliRunner().invoke(app, ["chat", "none", *sampling], env=environment)
    assert gone.exit_code == 1 and "there is no model 'none'; `rlhf models`" in gone.output
