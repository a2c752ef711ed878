"""Conversations as text, as the base model's own chat template writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rlhf_service.data.templates import chat_template, tokenizer_config

Turn = dict[str, str]
"""role, content."""


@dataclass(frozen=True, slots=True)
class Plain:
    """For a model without a chat template: what was said, a line each."""

    learns_messages = False

    def prompt(self, turns: Sequence[Turn]) -> str:
        return "".join(f"{turn['content']}\n" for turn in turns)


@dataclass(frozen=True, slots=True)
class Templated:
    """For a model with one."""

    template: Template
    tokens: dict[str, str]
    """`bos_token` and `eos_token`, where the tokenizer has them."""

    learns_messages = True

    def prompt(self, turns: Sequence[Turn]) -> str:
        """Up to where the answer begins. Raises ValueError when the template refuses the turns."""
        try:
            text = self.template.render(
                messages=list(turns), add_generation_prompt=True, tools=None, **self.tokens
            )
        except (TemplateError, TypeError, ArithmeticError, RecursionError) as fault:
            raise ValueError(f"the model's chat template refuses this: {fault}") from None
        # The start token is added again when the prompt is encoded.
        return text.removeprefix(self.tokens.get("bos_token") or "\0")


Transcript = Plain | Templated


def transcript_of(folder: Path | None) -> Transcript:
    """How the model in `folder` is spoken to; None is a model that has yet to be made."""
    if folder is None:
        return Plain()
    source, config = chat_template(folder), tokenizer_config(folder)
    if source is None:
        return Plain()
    tokens = {
        name: text
        for name in ("bos_token", "eos_token")
        if (text := token_text(config.get(name))) is not None
    }
    return Templated(environment().from_string(source), tokens)


def token_text(token: object) -> str | None:
    """A special token, which may stand as an object with its text."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def environment() -> ImmutableSandboxedEnvironment:
    """What chat templates may expect, and nothing that reaches out of the sandbox."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = today
    dump: Callable[[object], str] = lambda value: json.dumps(value, ensure_ascii=False)  # noqa: E731
    made.filters["tojson"] = dump
    return made


def refuse(message: str) -> None:
    raise TemplateError(message)


def today(style: str) -> str:
    return datetime.now().strftime(style)
