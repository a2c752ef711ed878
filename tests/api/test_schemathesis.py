"""Requests made from the OpenAPI document, odd ones too: whatever is sent, the answer is one that the
document describes, and never a fault of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as effort
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rlhf_service.events import CheckpointSaved
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings
from tests.api.served import CHAT, Served, lines, served, until
from tests.api.test_artefacts import save_checkpoint
from tests.api.tuning import model_folder
from tests.api.world import step

JSON = dict[str, Any]
OPERATIONS = Path(__file__).with_name("operations.txt").read_text().split()
EXAMPLES = 5
"""Of well-formed requests to each operation, and as many that are not."""
STORIES, STEPS = 8, 8
"""Of operations one after the other."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CAREFUL = effort(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
SLOW = {"prepare_recipe"}
"""Known names take minutes; unknown ones are sent."""


@dataclass(slots=True)
class Attacked:
    """A server with one of everything, and its document."""

    here: Served
    schema: Any
    operations: dict[str, Any]
    """By their ids."""
    known: dict[str, str]
    """Path parameter → an id that exists."""
    token: str
    """A driver's."""

    def send(self, case: Any, known: bool) -> requests.Response:
        """With ids that exist when `known`."""
        if known:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = self.known.get(name, case.path_parameters[name])
        key = self.token if "/internal/" in case.path else self.here.key
        headers = {"authorization": f"Bearer {key}"}
        # It answers 503 when it is not ready, as it is described.
        checks = [c for c in CHECKS if case.path != "/readyz" or c is not not_a_server_error]
        answer: requests.Response = case.call_and_validate(
            base_url=self.here.root, headers=headers, checks=checks, timeout=60
        )
        return answer


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    settings = make_settings(
        tmp_path_factory.mktemp("here"),
        "",
        reconcile=True,
        reconcile_interval=0.05,
        generation_models=0,
        sse_lifetime=0.1,
        rate_limit=0,
        sign_in_failures=0,
    )
    with served(settings, FakeLauncher()) as here, here.http() as http:
        known, token = one_of_everything(here, http)
        schema = schemathesis.openapi.from_dict(http.get("/openapi.json").json())
        found = [result.ok() for result in schema.get_all_operations()]
        operations = {each.definition.raw["operationId"]: each for each in found}
        yield Attacked(here, schema, operations, known, token)


def one_of_everything(here: Served, http: Any) -> tuple[dict[str, str], str]:
    def made(path: str, **body: Any) -> str:
        answer = http.post(path, **body)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["id"])

    rows = {"file": ("rows.jsonl", lines([{"messages": CHAT}]))}
    file = made("/v1/files", files=rows, data={"purpose": "fine-tune"})
    scratch = {"hidden_size": 8, "num_heads": 1}
    asked = {"model": "scratch", "training_file": file, "rlhf": {"model": scratch}}
    job = made("/v1/fine_tuning/jobs", json=asked)
    here.begin(job)
    here.say(job, step(1), CheckpointSaved(stage="sft", step=1, path="/x", seconds=1))
    save_checkpoint(here.settings.folder(job).checkpoints, "sft", 1)
    model_folder(here.settings.folder(job).model)
    submission = here.submitted(job)
    token = here.launcher.attempts[submission].request.events_token
    here.launcher.succeed(submission)
    until(lambda: http.get(f"/v1/jobs/{job}").json()["status"] == "succeeded")
    upload = {"filename": "a", "purpose": "fine-tune", "bytes": 3, "mime_type": "text/jsonl"}
    known = {
        "job_id": job,
        "file_id": file,
        "model_id": job,
        "upload_id": made("/v1/uploads", json=upload),
        "key_id": made("/v1/keys", json={"name": "other"}),
        "tenant": "blue",
        "path": "spec.json",
    }
    return known, token


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_does_what_it_says(attacked: Attacked, name: str) -> None:
    operation = attacked.operations[name]
    may_be_wrong = any(operation.iter_parameters()) or operation.body
    modes = [GenerationMode.POSITIVE] + [GenerationMode.NEGATIVE] * bool(may_be_wrong)
    for mode in modes:

        @seed(0)
        @CAREFUL
        @given(operation.as_strategy(generation_mode=mode), st.booleans())
        def attack(case: Any, known: bool) -> None:
            attacked.send(case, known and name not in SLOW)

        attack()


def test_operations_one_after_the_other(attacked: Attacked) -> None:
    """Ids of answers go into the next requests, as the document's links and names suggest."""
    machine = attacked.schema.exclude(operation_id=list(SLOW)).as_state_machine()

    class Machine(machine):  # type: ignore[misc, valid-type]
        def get_call_kwargs(self, case: Any) -> JSON:
            key = attacked.token if "/internal/" in case.path else attacked.here.key
            headers = {"authorization": f"Bearer {key}"}
            return {"base_url": attacked.here.root, "headers": headers, "timeout": 60}

        def validate_response(self, response: Any, case: Any, **more: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    careful = effort(CAREFUL, max_examples=STORIES, stateful_step_count=STEPS, derandomize=True)
    Machine.run(settings=careful)
