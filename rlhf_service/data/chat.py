"""Conversations → text and token ids, by the tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from rlhf_service.data.messages import Conversation, Message
from rlhf_service.errors import DataError


def question_ids(turns: Conversation, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The turns and the opening of the assistant's next one. Raises DataError."""
    return ids_of(written(tokenizer, turns, prompt=True), tokenizer)


def answer_ids(turns: Conversation, answer: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the policy would have sampled to give `answer` after `turns`, end token included."""
    *_, (text, _) = spans((*turns, Message("assistant", answer)), tokenizer)
    ids = ids_of(text, tokenizer)
    if tokenizer.eos_token_id in ids:
        # Sampling stops at the end token; templates write a line break after it.
        last = len(ids) - 1 - ids[::-1].index(tokenizer.eos_token_id)
        return ids[: last + 1]
    return [*ids, tokenizer.eos_token_id]


def learnt_spans(
    turns: Conversation, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[bool]]:
    """(ids, mask): the conversation, and True where an assistant's turn, or its end, is learnt."""
    ids: list[int] = []
    mask: list[bool] = []
    for text, learnt in spans(turns, tokenizer):
        # Tokenised apart, as prompt and response are in sampling: no token spans both.
        part = ids_of(text, tokenizer)
        ids += part
        mask += [learnt] * len(part)
    return ids, mask


def spans(turns: Conversation, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[str, bool]]:
    """The conversation's text up to its last assistant turn, in parts; True for what is learnt.

    Raises DataError when the template does not write a longer conversation as the shorter one and
    an addition.
    """
    so_far = ""
    for end, turn in enumerate(turns, start=1):
        if turn.role != "assistant":
            continue
        asked = written(tokenizer, turns[: end - 1], prompt=True)
        answered = written(tokenizer, turns[:end], prompt=False)
        if not (asked.startswith(so_far) and answered.startswith(asked)):
            raise DataError(
                "the tokenizer's chat template rewrites earlier turns, so what the assistant wrote "
                "cannot be told apart; make one row for each assistant turn, or prompt+completion"
            )
        yield asked[len(so_far) :], False
        yield answered[len(asked) :], turn.learnt
        so_far = answered


def written(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], *, prompt: bool) -> str:
    """The turns as text, with the opening of an answer when it is a `prompt`. Raises DataError."""
    if not turns:
        return ""
    if tokenizer.chat_template is None:
        raise DataError(
            "rows have messages but the tokenizer has no chat template; use rows of plain text, "
            "or a model folder whose tokenizer has one"
        )
    told = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        return str(
            tokenizer.apply_chat_template(told, add_generation_prompt=prompt, tokenize=False)
        )
    except TemplateError as fault:
        raise DataError(
            f"the tokenizer's chat template refuses a conversation ({fault}); reorder its turns"
        ) from None


def ids_of(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of text in which the template has written every special token."""
    return list(tokenizer.encode(text, add_special_tokens=False))
