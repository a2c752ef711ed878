"""Rows → token ids, and token rows → tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from rlhf_service.data.rows import CompletionRow, PreferenceRow, PromptRow, TextRow
from rlhf_service.errors import DataError

TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One sequence and which of its tokens are learnt."""

    token_ids: TokenIds
    loss_mask: tuple[bool, ...]
    """True where the token is a target; never at position 0, which nothing predicts."""

    @property
    def num_targets(self) -> int:
        return sum(self.loss_mask)


@dataclass(frozen=True, slots=True)
class PairRow:
    """Both sequences of a preference, EOS at the end of each."""

    chosen: TokenIds
    rejected: TokenIds
    margin: float


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Right-padded rows, [B, T]."""

    input_ids: torch.Tensor
    """int64."""
    attention_mask: torch.Tensor
    """int64, 1 where there is a token."""
    loss_mask: torch.Tensor
    """bool, True where the token is a target."""

    def to(self, device: torch.device) -> TokenBatch:
        return TokenBatch(
            self.input_ids.to(device), self.attention_mask.to(device), self.loss_mask.to(device)
        )


def encode(text: str, tokenizer: PreTrainedTokenizerBase, *, start: bool) -> list[int]:
    """Ids of `text`; with the tokenizer's own start token when it `start`s a sequence."""
    return list(tokenizer.encode(text, add_special_tokens=start))


def pack_documents(
    documents: Sequence[TextRow],
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    field: str | None,
) -> list[TokenRow]:
    """Documents laid end to end, EOS after each, cut into full blocks of `length` tokens.

    Every token but a block's first is a target. Raises DataError when there is not one full block.
    """
    stream: list[int] = []
    for document in documents:
        stream += [*encode(document.text, tokenizer, start=False), tokenizer.eos_token_id]
    blocks = [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]
    if not blocks and field is not None:
        raise DataError(
            f"the documents have {len(stream)} tokens, less than one block of max_length {length}; "
            "add text or lower max_length",
            field,
        )
    mask = (False, *[True] * (length - 1))
    return [TokenRow(tuple(block), mask) for block in blocks]


def encode_completions(
    rows: Sequence[CompletionRow], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[TokenRow]:
    """Prompt, completion and EOS; only completion and EOS are targets.

    A longer row keeps its first max_length tokens.
    """
    return [
        _chat(row, tokenizer, max_length) if row.messages else _plain(row, tokenizer, max_length)
        for row in rows
    ]


def _plain(row: CompletionRow, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenRow:
    prompt = encode(row.prompt, tokenizer, start=True)
    if not prompt:
        # Something must stand before the first target.
        prompt = [start_id(tokenizer)]
    answer = [*encode(row.completion, tokenizer, start=False), tokenizer.eos_token_id]
    mask = [False] * len(prompt) + [True] * len(answer)
    return TokenRow(tuple([*prompt, *answer][:max_length]), tuple(mask[:max_length]))


def _chat(row: CompletionRow, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenRow:
    """Conversation by the chat template; each assistant turn, and what ends it, is a target."""
    turns = [{"role": m.role, "content": m.content} for m in row.messages]
    ids: list[int] = []
    mask: list[bool] = []
    for end, turn in enumerate(turns, start=1):
        if turn["role"] == "assistant":
            asked = _template(tokenizer, turns[: end - 1], prompt=True)
            mask += [False] * (len(asked) - len(ids))
            ids = asked[: len(ids)] + asked[len(ids) :]
        spoken = _template(tokenizer, turns[:end], prompt=False)
        mask += [turn["role"] == "assistant"] * (len(spoken) - len(ids))
        ids = spoken
    return TokenRow(tuple(ids[:max_length]), tuple([False, *mask[1:max_length]]))


def _template(
    tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], *, prompt: bool
) -> list[int]:
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=prompt, tokenize=False)
    return encode(str(text), tokenizer, start=False)


def encode_preferences(
    rows: Sequence[PreferenceRow], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[PairRow]:
    """Prompt, answer and EOS, for both answers; a longer one keeps its first max_length tokens."""

    def sequence(prompt: str, answer: str) -> TokenIds:
        ids = encode(prompt, tokenizer, start=True) + encode(answer, tokenizer, start=False)
        return tuple([*ids, tokenizer.eos_token_id][:max_length])

    return [
        PairRow(sequence(r.prompt, r.chosen), sequence(r.prompt, r.rejected), r.margin)
        for r in rows
    ]


def encode_prompts(
    rows: Sequence[PromptRow], tokenizer: PreTrainedTokenizerBase, max_length: int, field: str
) -> list[TokenIds]:
    """Ids of each prompt. Raises DataError for one that is longer than max_length tokens."""
    encoded = []
    for index, row in enumerate(rows):
        ids = encode(row.prompt, tokenizer, start=True) or [start_id(tokenizer)]
        if len(ids) > max_length:
            raise DataError(
                f"the prompt of row {index + 1} has {len(ids)} tokens, more than "
                f"max_prompt_length {max_length}; shorten it or raise max_prompt_length",
                field,
            )
        encoded.append(tuple(ids))
    return encoded


def start_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """What stands before the first token of an otherwise empty prompt."""
    start = tokenizer.bos_token_id
    return int(tokenizer.eos_token_id if start is None else start)


def collate_tokens(rows: Sequence[TokenRow]) -> TokenBatch:
    """Right-pad rows to the longest of them."""
    batch = collate_sequences([row.token_ids for row in rows])
    for index, row in enumerate(rows):
        batch.loss_mask[index, : len(row.loss_mask)] = torch.tensor(row.loss_mask)
    return batch


def collate_sequences(sequences: Sequence[TokenIds]) -> TokenBatch:
    """Right-pad sequences to the longest of them; no targets."""
    shape = (len(sequences), max(map(len, sequences)))
    input_ids = torch.zeros(shape, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    for row, ids in enumerate(sequences):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
    return TokenBatch(input_ids, attention_mask, torch.zeros(shape, dtype=torch.bool))
