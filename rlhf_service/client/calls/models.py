"""`/v1/models`, and answers of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from rlhf_service.client.call import Call, one, part, plain
from rlhf_service.client.frames import ANSWER_TIMEOUT
from rlhf_service.client.paging import Page, page
from rlhf_service.client.records import Deleted, Lineage, Model
from rlhf_service.client.records.admin import Permission

Messages = Sequence[dict[str, Any]]
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


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
    return Call("POST", CHAT, plain, json=body, timeout=ANSWER_TIMEOUT)


def complete(model: str, prompt: str, **sampling: Any) -> Call[dict[str, Any]]:
    """What a model goes on with after a text, without a chat template."""
    body = {"model": model, "prompt": prompt, **sampling}
    return Call("POST", TEXT, plain, json=body, timeout=ANSWER_TIMEOUT)


def permit(model_id: str, tenants: Sequence[str]) -> Call[Page[Permission]]:
    """Let other tenants chat with a checkpoint or a finished model of yours. Only for admins."""
    body = {"project_ids": list(tenants)}
    return Call("POST", permissions_at(model_id), page(Permission), json=body)


def permissions(model_id: str, *, limit: int = 100) -> Call[Page[Permission]]:
    """Who may chat with it, besides you; newest first."""
    return Call("GET", permissions_at(model_id), page(Permission), query={"limit": limit})


def forbid(model_id: str, permission_id: str) -> Call[Deleted]:
    """Take a permission back."""
    return Call("DELETE", f"{permissions_at(model_id)}/{part(permission_id)}", one(Deleted))


def permissions_at(model_id: str) -> str:
    return f"/v1/fine_tuning/checkpoints/{part(model_id)}/permissions"


def turns(messages: Messages | str) -> list[dict[str, Any]]:
    """A text alone is what the user says."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    return [dict(message) for message in messages]
