"""The OpenAPI document says everything about every operation."""

from __future__ import annotations

import gc
import json
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from api.document.build import CONTENTS, RANGED, REPEATABLE, TAGS, operations
from api.document.examples import BODIES, FORMS
from api.document.refusals import MORE
from api.main import create_app
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings

JSON = dict[str, Any]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> JSON:
    app = create_app(make_settings(tmp_path_factory.mktemp("here"), ""), FakeLauncher())
    made: JSON = json.loads(json.dumps(app.openapi()))
    return made


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_every_operation_is_described(document: JSON) -> None:
    seen = []
    for path, operation in operations(document):
        name = operation["operationId"]
        seen.append(name)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name), name
        assert operation["description"].strip() and operation["summary"].strip(), name
        assert set(operation["tags"]) <= set(TAGS) and operation["tags"], name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])
            assert parameter.get("schema"), (name, parameter["name"])
        assert path in ("/livez", "/readyz") or operation["security"], name
    assert len(seen) == len(set(seen)) and len(seen) > 60
    assert [tag["name"] for tag in document["tags"]] == list(TAGS)
    assert all(tag["description"] for tag in document["tags"])


def test_operation_ids_do_not_change(document: JSON) -> None:
    """Generated clients are named after them: one may be added, none renamed or dropped."""
    known = Path(__file__).with_name("operations.txt").read_text().split()
    found = {operation["operationId"] for _, operation in operations(document)}
    assert known == sorted(known)
    assert found == set(known), "add new operations to operations.txt"


def test_every_answer_is_described(document: JSON) -> None:
    for path, operation in operations(document):
        name, answers = operation["operationId"], operation["responses"]
        assert any(status.startswith("2") for status in answers), name
        assert "500" in answers, name
        if operation.get("security"):
            assert {"401", "403", "429"} <= set(answers), name
        if "{" in path:
            assert "404" in answers, name
        if "requestBody" in operation:
            assert {"400", "413"} <= set(answers), name
        for status, answer in answers.items():
            assert answer["description"], (name, status)
            if status == "304":
                continue
            for kind, content in answer["content"].items():
                assert content["schema"], (name, status, kind)
            if int(status) >= 400 and name != "readyz":
                [kind] = answer["content"]
                assert kind == "application/problem+json", (name, status)
                example = answer["content"][kind]["example"]
                assert example["status"] == int(status)
                assert example["error"]["code"] == example["code"]


def test_every_body_has_an_example_that_fits(document: JSON) -> None:
    for _, operation in operations(document):
        name = operation["operationId"]
        for kind, body in operation.get("requestBody", {}).get("content", {}).items():
            given = [each["value"] for each in body.get("examples", {}).values()]
            given += [body["example"]] if "example" in body else []
            assert given, name
            if kind == "application/json":
                schema = {**body["schema"], "components": document["components"]}
                for example in given:
                    jsonschema.Draft202012Validator(schema).validate(example)


def test_examples_of_problems_fit_their_schema(document: JSON) -> None:
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    for _, operation in operations(document):
        for answer in operation["responses"].values():
            content = answer.get("content", {}).get("application/problem+json")
            if content is not None:
                validator.validate(content["example"])


def test_tables_name_operations_that_exist(document: JSON) -> None:
    found = {operation["operationId"] for _, operation in operations(document)}
    for table in (BODIES, FORMS, MORE, CONTENTS, RANGED, REPEATABLE):
        assert set(table) <= found, set(table) - found


def test_every_reference_leads_somewhere(document: JSON) -> None:
    schemas = document["components"]["schemas"]
    for reference in set(references(document)):
        assert reference.removeprefix("#/components/schemas/") in schemas, reference
    assert "HTTPValidationError" not in schemas


def test_an_application_that_nobody_holds_is_gone(tmp_path: Path) -> None:
    """What FastAPI remembers of functions must not lead to it: tests make a thousand of them."""
    made = weakref.ref(create_app(make_settings(tmp_path, ""), FakeLauncher()))
    gc.collect()
    assert made() is None
