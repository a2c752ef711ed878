"""OpenAI's graders as rewards of this service. Pure; raises SpecError naming the parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rlhf_service.errors import SpecError
from rlhf_service.explain import explain
from rlhf_service.spec.base import Section
from rlhf_service.spec.reward import RewardSpec
from rlhf_service.spec.walk import sections
from rlhf_service.template import item_column, names_in

Grader = Mapping[str, Any]
REWARD: TypeAdapter[RewardSpec] = TypeAdapter(RewardSpec)


def to_reward(grader: Grader, param: str) -> RewardSpec:
    """The reward that scores as `grader` does. `param` is where it stands in the request."""
    given = translated(grader, param)
    try:
        reward = REWARD.validate_python(given)
    except ValidationError as fault:
        first = explain(dict(fault.errors()[0]), given, lambda _: "")
        where = f"{param}.{first['field']}" if first["field"] else param
        raise SpecError(str(first["message"]), where) from None
    check_templates(reward, param)
    return reward


def translated(grader: Grader, param: str) -> dict[str, Any]:
    """The grader with what is spelt otherwise here spelt our way."""
    found = dict(grader)
    match found.get("type"):
        case "text_similarity" if (
            found.get("evaluation_metric") == "cosine" and "encoder" not in found
        ):
            raise SpecError(
                "cosine needs an embedding model: name a sentence encoder's folder in `encoder`, or "
                "use another metric",
                f"{param}.evaluation_metric",
            )
        case "python" if found.pop("image_tag", None) is not None:
            raise SpecError(
                "graders run with this service's own Python; leave it out", f"{param}.image_tag"
            )
        case "score_model" | "label_model" as kind:
            found["input"] = messages(found.get("input"), f"{param}.input")
            if kind == "score_model":
                found.setdefault("range", (0.0, 1.0))
            if found.get("sampling_params") is None:
                found.pop("sampling_params", None)
        case "multi":
            found["graders"] = {
                name: translated(part, f"{param}.graders.{name}")
                for name, part in members(found.get("graders"), f"{param}.graders").items()
            }
    return found


def members(graders: object, param: str) -> dict[str, Grader]:
    """The graders of a `multi` by name: given so, as a list of named ones, or as a single one."""
    if isinstance(graders, Mapping) and isinstance(graders.get("type"), str):
        graders = [graders]
    if isinstance(graders, Mapping):
        named = {str(name): part for name, part in graders.items()}
    elif isinstance(graders, list):
        named = {}
        for number, part in enumerate(graders):
            name = part.get("name") if isinstance(part, Mapping) else None
            if not isinstance(name, str) or name in named:
                raise SpecError("needs a name of its own", f"{param}[{number}].name")
            named[name] = part
    else:
        raise SpecError("must be graders by name", param)
    for name, part in named.items():
        if not isinstance(part, Mapping):
            raise SpecError("must be a grader", f"{param}.{name}")
    return named


def messages(given: object, param: str) -> object:
    """A judge's messages with text alone in them."""
    if not isinstance(given, list):
        return given
    found: list[object] = []
    for number, message in enumerate(given):
        if not isinstance(message, Mapping):
            return given
        content = message.get("content")
        if isinstance(content, Mapping):
            content = [content]
        if isinstance(content, list):
            content = text_of(content, f"{param}[{number}].content")
        kept = {key: value for key, value in message.items() if key != "type"}
        found.append({**kept, "content": content})
    return found


def text_of(content: list[Any], param: str) -> str:
    """Parts of a message as one text. Raises SpecError for what is none."""
    texts = []
    for part in content:
        text = part if isinstance(part, str) else None
        if isinstance(part, Mapping) and isinstance(part.get("text"), str):
            text = part["text"]
        if text is None:
            raise SpecError("only text is served, no images and no sound", param)
        texts.append(text)
    return "".join(texts)


def check_templates(reward: Section, param: str) -> None:
    """Every place of a template can be filled. Raises SpecError."""
    for field, section in sections(reward):
        for name in ("input", "reference", "content"):
            template = getattr(section, name, None)
            for place in names_in(template) if isinstance(template, str) else ():
                if place != "sample.output_text" and item_column(place) is None:
                    raise SpecError(
                        f"{{{{{place}}}}} is neither {{{{sample.output_text}}}} nor "
                        "{{item.<column>}}",
                        ".".join(part for part in (param, field, name) if part),
                    )
