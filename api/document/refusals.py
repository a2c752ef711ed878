"""Which operation refuses with what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.errors import TITLES, is_openai

JSON = dict[str, Any]

MEANINGS: Mapping[int, str] = {
    400: "A parameter or a field has no usable value; `param` names it.",
    401: "No API key, or one that is not valid.",
    403: "The key's scopes do not allow it.",
    404: "There is no such thing, or it is another tenant's.",
    409: "The thing's state does not allow it, or an Idempotency-Key was used for another body.",
    413: "The body is larger than this service takes.",
    416: "The range lies outside the file.",
    422: "The request does not have the form that is described here; `errors` names every field.",
    429: "Too much at once, or a quota is used up; `Retry-After` says when to try again.",
    500: "A fault of this service; its log has more under `request_id`.",
    503: "Not available now; trying again later may help.",
}
CODES: Mapping[int, tuple[str, str | None, str]] = {
    400: ("invalid_parameter", "after", "there is no job 'job-0' to list after"),
    401: ("unauthenticated", None, "send an API key: Authorization: Bearer rlhf_…"),
    403: ("forbidden", None, "this needs a key with the scope 'write'; yours has: read"),
    404: ("not_found", None, "there is no job 'job-0'"),
    409: ("conflict", None, "the job has succeeded; there is nothing to cancel"),
    413: ("request_too_large", None, "the body is too large; at most 16777216 bytes are taken"),
    416: ("range_not_satisfiable", "Range", "the range cannot be served; the file has 12 bytes"),
    422: ("invalid_request", "stages[0].steps", "stages[0].steps: must be greater than 0"),
    429: ("busy", None, "too many requests wait for this model; try again later"),
    500: ("internal_error", None, "a fault of this server; its log has more under req-0"),
    503: ("cluster_unreachable", None, "the cluster does not give the log: no answer within 10 s"),
}
"""Status → an example's code, parameter and message."""

MORE: Mapping[str, tuple[int, ...]] = {
    "submit_job": (409,),
    "cancel_job": (409,),
    "pause_job": (409,),
    "resume_job": (409,),
    "retry_job": (409,),
    "clone_job": (409,),
    "delete_job": (409,),
    "get_logs": (503,),
    "download_artefact": (416,),
    "get_file_content": (416,),
    "register_model": (409,),
    "delete_model": (409,),
    "delete_file": (409,),
    "add_upload_part": (409,),
    "complete_upload": (409,),
    "cancel_upload": (409,),
    "create_fine_tuning_job": (409,),
    "cancel_fine_tuning_job": (409,),
    "pause_fine_tuning_job": (409,),
    "resume_fine_tuning_job": (409,),
    "create_chat_completion": (404,),
    "create_completion": (404,),
    "run_grader": (503,),
    "prepare_recipe": (503,),
    "create_key": (409,),
    "revoke_key": (409,),
    "rotate_key": (409,),
}
"""Operation → refusals besides those that follow from its form."""


def statuses(path: str, operation: JSON) -> list[int]:
    """Everything but success that the operation may answer with."""
    found = {500, *MORE.get(operation["operationId"], ())}
    asked = bool(operation.get("parameters")) or "requestBody" in operation
    if operation.get("security"):
        found |= {401, 403, 429}
    if "{" in path:
        found.add(404)
    if asked:
        found |= {400} if is_openai(path) else {400, 422}
    if "requestBody" in operation:
        found.add(413)
    return sorted(found)


def refusal(status: int, path: str) -> JSON:
    """The description of one of them."""
    code, param, message = CODES[status]
    kind = "invalid_request_error" if status < 500 else "server_error"
    example = {
        "type": f"urn:rlhf:problem:{code}",
        "title": TITLES[status],
        "status": status,
        "detail": message,
        "instance": path,
        "code": code,
        "param": param,
        "request_id": "req-0f1e2d3c4b5a6978",
        "error": {"message": message, "type": kind, "param": param, "code": code},
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": MEANINGS[status],
        "content": {"application/problem+json": {"schema": schema, "example": example}},
    }
