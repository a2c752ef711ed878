"""Fine-tuning jobs asked for with the openai package, and what they leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.served import CHAT, Served, lines, served, until

SCRATCH = {"model": {"hidden_size": 8, "num_heads": 1}}
GRADER = {
    "type": "string_check",
    "name": "right",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}


@contextmanager
def running(folder: Path, database_url: str) -> Iterator[Served]:
    models = folder / "models"
    settings = make_settings(
        folder,
        database_url,
        reconcile=True,
        reconcile_interval=0.05,
        base_models={"local": models},
    )
    model_folder(models / "tiny")
    with served(settings, FakeLauncher(cpus=2)) as made:
        yield made


def model_folder(folder: Path) -> None:
    """Enough of a model for the checks at submission."""
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "tokenizer.json").write_text("{}")


def upload(client: Any, *rows: Any) -> str:
    content = lines(rows or [{"messages": CHAT}])
    return str(client.files.create(file=("rows.jsonl", content), purpose="fine-tune").id)


def create(client: Any, **changes: Any) -> Any:
    given = {"model": "scratch", "extra_body": {"rlhf": SCRATCH}, **changes}
    given.setdefault("training_file", upload(client))
    return client.fine_tuning.jobs.create(**given)


def succeed(here: Served, job_id: str) -> None:
    submission = here.submitted(job_id)
    model_folder(here.settings.folder(job_id).model)
    here.launcher.succeed(submission)
    client = here.openai()
    until(lambda: client.fine_tuning.jobs.retrieve(job_id).status == "succeeded")
