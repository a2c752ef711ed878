"""A process that answers for one model: `python -m rlhf_service.generation <model folder>`.

Takes an Ask a line and gives Replies; an empty line while it answers cancels the answer. Ends with
its input.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

from rlhf_service.errors import RlhfError
from rlhf_service.generation.protocol import Ask, Reply


def say(reply: Reply) -> None:
    sys.stdout.write(reply.model_dump_json(exclude_defaults=False) + "\n")
    sys.stdout.flush()


def cancelled() -> bool:
    """Whether something came on the input; only a cancellation can."""
    return bool(select.select([0], [], [], 0)[0])


def lines() -> Iterator[bytes]:
    """Lines of the input, none of them read before it is wanted."""
    rest = b""
    while piece := os.read(0, 1 << 16):
        rest += piece
        *whole, rest = rest.split(b"\n")
        yield from whole


def main() -> None:
    # Torch is loaded in this process only, and only once it runs.
    import torch

    from rlhf_service.generation.decode import answers
    from rlhf_service.models.load import load_causal_lm
    from rlhf_service.models.tokenizer import load_tokenizer

    folder = Path(sys.argv[1])
    try:
        model, tokenizer = load_causal_lm(folder, torch.float32).eval(), load_tokenizer(folder)
    except RlhfError as fault:
        say(Reply(type="error", text=str(fault)))
        return
    say(Reply(type="ready"))
    for line in lines():
        if not line.strip():
            continue  # cancelled when the answer had just ended
        try:
            for reply in answers(model, tokenizer, Ask.model_validate_json(line), cancelled):
                say(reply)
        except RlhfError as fault:
            say(Reply(type="error", text=str(fault)))


if __name__ == "__main__":
    main()
