"""A job as text, JSON or YAML: read and checked as a submission would be, and not submitted."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from api.schemas.specs import CheckedSpec, SpecFault
from api.service.admission import check_submission
from api.service.caller import Caller
from api.service.cluster import Cluster
from api.service.territory import Territory
from api.settings import Settings
from api.suggest import suggestion
from rlhf_service.errors import UserError
from rlhf_service.explain import explain
from rlhf_service.spec import JobSpec


class Loader(yaml.SafeLoader):
    """Safe, and without aliases: a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not taken; write it out", self.get_mark()
            )
        found: yaml.Node | None = super().compose_node(parent, index)
        return found


@dataclass(frozen=True, slots=True)
class Draft:
    """What was read of a text."""

    value: Any
    root: yaml.Node | None
    """Knows the lines; None where YAML could not follow the JSON."""

    def line(self, field: str | None) -> int | None:
        """Line, from 1, of a dotted field, or of the nearest part of the text around it."""
        node, line = self.root, None
        for part in re.findall(r"[^.\[\]]+", field or ""):
            if isinstance(node, yaml.MappingNode):
                found = next(((k, v) for k, v in node.value if k.value == part), None)
            elif isinstance(node, yaml.SequenceNode) and part.isdigit():
                found = next(((v, v) for v in node.value[int(part) : int(part) + 1]), None)
            else:
                found = None
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line


class Unreadable(ValueError):
    """The text is neither JSON nor YAML; `line` counts from 1."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def read(text: str) -> Draft:
    """The text's value. Raises Unreadable."""
    is_json = text.lstrip().startswith("{")
    try:
        root = yaml.compose(text, Loader=Loader)
        value = json.loads(text) if is_json else yaml.load(text, Loader=Loader)
        # The same value as in the body of a submission: keys are text, dates are text.
        value = json.loads(json.dumps(value, default=str, ensure_ascii=False).encode())
    except json.JSONDecodeError as fault:
        raise Unreadable(f"this is not JSON: {fault.msg}", fault.lineno) from None
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        if is_json:  # tabs, for one, are JSON and not YAML
            return json_alone(text)
        said = fault.problem or fault.context or "it cannot be read"
        raise Unreadable(f"this is not YAML: {said}", mark.line + 1 if mark else None) from None
    except RecursionError:
        raise Unreadable("this is nested too deeply for a job") from None
    except (yaml.YAMLError, ValueError, TypeError) as fault:
        raise Unreadable(f"this cannot be read: {fault}") from None
    return Draft(value, root)


def json_alone(text: str) -> Draft:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
        return Draft(value, None)
    except json.JSONDecodeError as fault:
        raise Unreadable(f"this is not JSON: {fault.msg}", fault.lineno) from None
    except (ValueError, RecursionError) as fault:
        raise Unreadable(f"this cannot be read: {fault}") from None


class Drafts:
    """What `/v1/specs/check` calls."""

    def __init__(self, cluster: Cluster, territory: Territory, settings: Settings) -> None:
        self.cluster = cluster
        self.territory = territory
        self.settings = settings

    async def check(self, caller: Caller, text: str) -> CheckedSpec:
        """Every fault that can be told at once, or the specification that it is."""
        try:
            draft = await asyncio.to_thread(read, text)
        except Unreadable as fault:
            return refused(SpecFault(field=None, message=str(fault), line=fault.line))
        if not isinstance(draft.value, dict):
            return refused(
                SpecFault(
                    field=None,
                    message="a job is a mapping of fields: begin with `name:`, `model:`, `stages:`",
                    line=1,
                )
            )
        try:
            spec = JobSpec.model_validate(draft.value)
            await self.territory.check(caller, spec)
            note = await check_submission(spec, self.settings.roots, self.cluster)
        except ValidationError as fault:
            found = [explain(dict(error), draft.value, suggestion) for error in causes(fault)]
            return refused(*[fault_of(draft, e["field"], str(e["message"])) for e in found])
        except UserError as fault:
            return refused(fault_of(draft, fault.field, fault.message))
        return CheckedSpec(spec=spec, faults=[], note=note)


def causes(fault: ValidationError) -> list[ErrorDetails]:
    """Without those that only follow from others: a list is short of items that are wrong."""
    found = fault.errors()
    places = [error["loc"] for error in found]
    return [
        error
        for error in found
        if error["type"] != "too_short"
        or not any(p != error["loc"] and p[: len(error["loc"])] == error["loc"] for p in places)
    ]


def fault_of(draft: Draft, field: str | None, message: str) -> SpecFault:
    return SpecFault(field=field, message=message, line=draft.line(field))


def refused(*faults: SpecFault) -> CheckedSpec:
    return CheckedSpec(spec=None, faults=list(faults), note="")
