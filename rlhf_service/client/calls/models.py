"""`/v1/models`, and answers of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from rlhf_service.client.call import Call, one, plain
from rlhf_service.client.paging import Page, page
from rlhf_service.client.records import Deleted, Lineage, Model

Messages = Sequence[dict[str, Any]]


def at(model_id: str) -> str:
    return f"/v1/models/{quote(model_id)}"  # a base model's name may have slashes


def listed(*, limit: int = 1000, after: str | None = None) -> Call[Page[Model]]:
    """A part of the finished jobs' models, newest first, then the base models."""
    return Call("GET", "/v1/models", page(Model), query={"limit": limit, "after": after})


def get(model_id: str) -> Call[Model]:
    """One model, by its id or its job's."""
    return Call("GET", at(model_id), one(Model))


def delete(model_id: str) -> Call[Deleted]:
    """Delete a job's model and those of its stages."""
    return Call("DELETE", at(model_id), one(Deleted))


def register(name: str, path: str) -> Call[Model]:
    """Give a model folder on the service's storage a name, under which chats and jobs take it."""
    body = {"id": name, "path": path}
    return Call("POST", "/v1/models", one(Model), json=body, repeatable=False)


def lineage(model_id: str) -> Call[Lineage]:
    """Where a model comes from: its job, data with digests, parent models; and what came of it."""
    return Call("GET", f"{at(model_id)}/lineage", one(Lineage))


def chat(model: str, messages: Messages | str, **sampling: Any) -> Call[dict[str, Any]]:
    """A whole answer, as OpenAI's chat completions tell it; `max_tokens`, `temperature`, `top_p`,
    `seed`, `stop`, `n` may be given.
    """
    body = {"model": model, "messages": turns(messages), **sampling}
    return Call("POST", "/v1/chat/completions", plain, json=body)


def complete(model: str, prompt: str, **sampling: Any) -> Call[dict[str, Any]]:
    """What a model goes on with after a text, without a chat template."""
    body = {"model": model, "prompt": prompt, **sampling}
    return Call("POST", "/v1/completions", plain, json=body)


def turns(messages: Messages | str) -> list[dict[str, Any]]:
    """A text alone is what the user says."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    return [dict(message) for message in messages]
