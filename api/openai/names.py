"""Names of models and checkpoints as OpenAI's clients know them."""

from __future__ import annotations

import re

OWNER = "rlhf"


def model_name(job_id: str, base: str, suffix: str | None) -> str:
    """`ft:<base>:rlhf:<suffix>:<job>`. The base without its folders; no part has a colon or slash."""
    short = base.rsplit("/", 1)[-1].rsplit(":", 1)[-1]
    return f"ft:{short}:{OWNER}:{clean(suffix or '')}:{job_id}"


def checkpoint_name(model: str, stage: str, step: int) -> str:
    return f"{model}:ckpt-{stage}-step-{step}"


def checkpoint_of(model: str) -> tuple[str, str, int] | None:
    """Model, stage and step that a checkpoint's name means; None when it is no such name."""
    found = re.fullmatch(r"(.+):ckpt-([a-z][a-z0-9_-]{0,31})-step-0*([0-9]{1,9})", model, re.DOTALL)
    return None if found is None else (found[1], found[2], int(found[3]))


def job_of(model: str) -> str:
    """The id of the job that a model's name means; the name itself when it is no such name."""
    parts = model.split(":")
    return parts[4] if parts[0] == "ft" and len(parts) == 5 else model


def clean(text: str) -> str:
    return "".join(
        "-" if letter in ":/ " or not letter.isprintable() else letter for letter in text
    )
