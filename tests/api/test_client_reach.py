"""Both clients reach the whole API, by the same names."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import pytest

from api.document.build import operations
from api.main import create_app
from rlhf_service.client.call import Call
from rlhf_service.client.calls import admin, drafts, files, health, jobs, keys, models, webhooks
from rlhf_service.client.parts import aio, sync
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.conftest import make_settings

CALLS = admin, drafts, files, health, jobs, keys, models, webhooks
STREAMED = {"stream_events": "jobs.stream", "download_artefact": "jobs.download"}
"""Operation → the method that reads its answer as it comes."""
ELSEWHERE = {
    "add_upload_part": "OpenAI's client cuts files; ours streams a whole one",
    "cancel_upload": "likewise",
    "complete_upload": "likewise",
    "create_upload": "likewise",
    "get_upload": "likewise",
    "list_upload_parts": "likewise",
    "cancel_fine_tuning_job": "a fine-tuning job is a job: `jobs.cancel`",
    "create_fine_tuning_job": "OpenAI's words for `jobs.create`",
    "get_fine_tuning_job": "`jobs.get`",
    "list_fine_tuning_checkpoints": "`jobs.checkpoints`",
    "list_fine_tuning_events": "`jobs.events`",
    "list_fine_tuning_jobs": "`jobs.list`",
    "pause_fine_tuning_job": "`jobs.pause`",
    "resume_fine_tuning_job": "`jobs.resume`",
    "download_archive": "`jobs.download_all` fetches the same files and goes on after a break",
    "get_recipe": "`drafts.recipes` tells all there is to know of each",
    "livez": "for load balancers",
    "metrics": "for Prometheus",
    "post_events": "for drivers",
}
"""Operation → why the clients have no method for it."""


def made(build: Any) -> Call[Any]:
    """A call with something for each argument that it must have."""
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(build).parameters.items():
        if parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            wants = str(parameter.annotation)
            given[name] = {} if "Mapping" in wants or "dict" in wants else "x"
            if "Sequence[str]" in wants:
                given[name] = ["x"]
    call = build(**given)
    assert isinstance(call, Call)
    return call


def builders(module: ModuleType) -> list[Any]:
    found = inspect.getmembers(module, inspect.isfunction)
    return [
        build
        for _, build in found
        if build.__module__ == module.__name__
        and str(build.__annotations__["return"])[:4] == "Call"
    ]


def test_every_operation_is_reached_or_said_why_not(tmp_path) -> None:
    document = create_app(make_settings(tmp_path, ""), FakeLauncher()).openapi()
    sent = [made(build) for module in CALLS for build in builders(module)]
    sent += [health.READYZ, keys.ME]
    reached = set(STREAMED)
    templates = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            templates[method.upper(), path] = operation["operationId"]
    for call in sent:
        fits = [
            (path.count("{"), operation)
            for (method, path), operation in templates.items()
            if method == call.method
            and re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", path), call.path.partition("?")[0])
        ]
        assert fits, f"{call.method} {call.path} is no operation"
        reached.add(min(fits)[1])
    every = {operation["operationId"] for _, operation in operations(document)}
    assert every - reached == set(ELSEWHERE)


NOUNS = [
    (noun, getattr(aio, f"Async{name}"))
    for name, noun in inspect.getmembers(sync, inspect.isclass)
    if noun.__module__ == sync.__name__
]


@pytest.mark.parametrize(("noun", "twin"), NOUNS, ids=lambda one: one.__name__)
def test_both_clients_have_the_same_methods(noun: type, twin: type) -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(kind, callable)
            if not name.startswith("_")
        }

    assert methods(noun) == methods(twin)


def test_every_noun_has_a_twin() -> None:
    twins = [kind for _, kind in inspect.getmembers(aio, inspect.isclass)]
    assert {twin for _, twin in NOUNS} == {t for t in twins if t.__module__ == aio.__name__}
    assert all(hasattr(sync.Jobs, name.split(".")[1]) for name in STREAMED.values())
