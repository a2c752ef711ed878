"""The OpenAPI document: every answer of every operation, with examples."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api.document.examples import BODIES, FORMS
from api.document.refusals import JSON, refusal, statuses
from api.schemas.problem import Problem

ONE = threading.Lock()
TAGS = {
    "jobs": "Submitting jobs, watching their state, stopping them, making new ones from them.",
    "events": "A job's gap-free log: in pages, live, as metrics and as samples.",
    "artefacts": "What a job leaves in storage: checkpoints, files, everything as one archive.",
    "reports": "What each stage of a job did and changed.",
    "models": "Finished jobs' models, registered folders, base models; where they come from.",
    "recipes": "Complete jobs on data that comes with the service.",
    "openai": "The OpenAI API: files, uploads, fine-tuning jobs, graders, completions.",
    "keys": "API keys, and who the caller is.",
    "quotas": "What tenants may use.",
    "audit": "Who did what.",
    "webhooks": "Telling other services what becomes of jobs.",
    "internal": "What drivers call.",
    "health": "For load balancers and probes.",
}
CONTENTS: dict[str, tuple[str, ...]] = {
    "download_artefact": ("application/octet-stream",),
    "get_file_content": ("application/octet-stream",),
    "download_archive": ("application/x-tar",),
    "stream_events": ("text/event-stream",),
    "get_job_report_page": ("text/html",),
    "metrics": ("text/plain", "application/openmetrics-text"),
    "create_chat_completion": ("application/json", "text/event-stream"),
    "create_completion": ("application/json", "text/event-stream"),
}
"""Operation → media types of its answer where that is no record of ours."""
BYTES: JSON = {"type": "string"}
SCHEMAS: dict[str, JSON] = {
    "application/json": {"type": "object"},
    "text/event-stream": {
        "type": "object",
        "description": "One event.",
        "properties": {
            "id": {"type": "string"},
            "event": {"type": "string"},
            "data": {"type": "string", "description": "JSON."},
        },
    },
}
"""Media type → what it holds, where that is not just bytes."""
RANGED = ("download_artefact", "get_file_content")
"""Answer with parts of a file, and with nothing when the caller has it."""
REPEATABLE = ("submit_job", "retry_job", "clone_job", "create_fine_tuning_job")
"""Answer 200 with what there is when the same request was done before."""


def operation_id(route: APIRoute) -> str:
    """The route's own name; names are unique."""
    return route.name


def document(app: FastAPI) -> JSON:
    """Made once for each application."""
    with ONE:
        return made_once(app)


def made_once(app: FastAPI) -> JSON:
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        )
        schemas = made["components"]["schemas"]
        schemas |= problem_schemas()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path, operation in operations(made):
            complete(path, operation)
        app.openapi_schema = made
    return app.openapi_schema


def operations(made: JSON) -> Iterator[tuple[str, JSON]]:
    for path, methods in made["paths"].items():
        for operation in methods.values():
            yield path, operation


def complete(path: str, operation: JSON) -> None:
    """Add what FastAPI cannot know."""
    name, answers = operation["operationId"], operation["responses"]
    answers.pop("422", None)
    if name in CONTENTS:
        content = {kind: {"schema": SCHEMAS.get(kind, BYTES)} for kind in CONTENTS[name]}
        answers["200"]["content"] = content
    if name in RANGED:
        kinds = ("application/octet-stream", "multipart/byteranges")
        content = {kind: {"schema": BYTES} for kind in kinds}
        answers["206"] = {"description": "The ranges asked for.", "content": content}
        answers["304"] = {"description": "The caller has it: the ETag is the same."}
    if name in REPEATABLE:
        again = "What the same request made before."
        answers["200"] = {**answers["201"], "description": again}
    if name == "readyz":
        answers["503"] = {**answers["200"], "description": "It cannot; `checks` says why."}
    for status in statuses(path, operation):
        answers.setdefault(str(status), refusal(status, path))
    operation["responses"] = dict(sorted(answers.items()))
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        examples = FORMS if kind == "multipart/form-data" else BODIES
        if name in examples:
            body["example"] = examples[name]


def problem_schemas() -> dict[str, Any]:
    made = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**made.pop("$defs"), "Problem": made}


def install(app: FastAPI) -> None:
    """Let the application describe itself with it."""
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
