"""Rows → token ids, and token rows → tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from transformers import PreTrainedTokenizerBase

from rlhf_service.data.chat import answer_ids, learnt_spans, question_ids
from rlhf_service.data.messages import Conversation, shown
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

    @property
    def length(self) -> int:
        """Tokens of its longer sequence."""
        return max(len(self.chosen), len(self.rejected))

    @property
    def tokens(self) -> int:
        """Of both sequences."""
        return len(self.chosen) + len(self.rejected)

    @property
    def predicted(self) -> int:
        """Places that the network's last layer is asked for: each sequence's score."""
        return 2


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """Both sequences of a preference, of which the answers are learnt."""

    chosen: TokenRow
    rejected: TokenRow
    margin: float
    reference: tuple[float, float] = (math.nan, math.nan)
    """The reference's log-probs of the chosen and of the rejected answer; nan until measured."""

    @property
    def length(self) -> int:
        """Tokens of its longer sequence."""
        return max(len(self.chosen.token_ids), len(self.rejected.token_ids))

    @property
    def tokens(self) -> int:
        """Of both sequences."""
        return len(self.chosen.token_ids) + len(self.rejected.token_ids)

    @property
    def predicted(self) -> int:
        """Places that the network's last layer is asked for: before each answer token."""
        return self.chosen.num_targets + self.rejected.num_targets


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

    A longer row keeps its first max_length tokens, so it loses its EOS and teaches no end. A row
    without a target in what is kept is left out. Raises DataError when that is every row.
    """
    encoded = [
        _chat(row, tokenizer, max_length) if row.messages else _plain(row, tokenizer, max_length)
        for row in rows
    ]
    learnable = [row for row in encoded if row.num_targets]
    if encoded and not learnable:
        raise DataError(
            f"no row has a completion within its first {max_length} tokens; raise max_length or "
            "shorten the prompts"
        )
    return learnable


def _plain(row: CompletionRow, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenRow:
    asked, answered = _question_and_answer(row.prompt, (), row.completion, tokenizer)
    return _answered(asked, answered, tokenizer, max_length)


def _answered(
    asked: list[int], answered: list[int], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> TokenRow:
    """Both, of which the answer is learnt, up to max_length tokens."""
    # Something must stand before the first target.
    before = asked or [start_id(tokenizer)]
    mask = [False] * len(before) + [True] * len(answered)
    return TokenRow(tuple([*before, *answered][:max_length]), tuple(mask[:max_length]))


def _chat(row: CompletionRow, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenRow:
    """Conversation by the chat template; each assistant turn, and what ends it, is a target."""
    ids, mask = learnt_spans(row.messages, tokenizer)
    return TokenRow(tuple(ids[:max_length]), tuple([False, *mask[1:max_length]]))


def encode_preferences(
    rows: Sequence[PreferenceRow], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[PairRow]:
    """Prompt, answer and EOS, for both answers; a longer one keeps its first max_length tokens."""

    def sequence(row: PreferenceRow, answer: str) -> TokenIds:
        return judged_ids(row.prompt, row.messages, answer, tokenizer)[:max_length]

    return [
        PairRow(sequence(row, row.chosen), sequence(row, row.rejected), row.margin) for row in rows
    ]


def judged_ids(
    prompt: str, turns: Conversation, answer: str, tokenizer: PreTrainedTokenizerBase
) -> TokenIds:
    """What a reward model reads: prompt (or its `turns`), answer and end, as its tokenizer marks them.

    An encoder's tokenizer has no end token and knows pairs of texts instead.
    """
    if tokenizer.eos_token_id is None:
        asked = shown(turns) or prompt
        return tuple(tokenizer.encode(*((asked, answer) if asked else (answer,))))
    return tuple(chain(*_question_and_answer(prompt, turns, answer, tokenizer)))


def encode_answers(
    rows: Sequence[PreferenceRow], tokenizer: PreTrainedTokenizerBase, max_length: int, field: str
) -> list[AnswerPair]:
    """Prompt, answer and EOS, for both answers, of which answer and EOS are targets.

    A longer sequence keeps its first max_length tokens; a pair without a target on both sides in
    what is kept is left out. Raises DataError when that is every pair.
    """

    def sequence(row: PreferenceRow, answer: str) -> TokenRow:
        asked, answered = _question_and_answer(row.prompt, row.messages, answer, tokenizer)
        return _answered(asked, answered, tokenizer, max_length)

    pairs = [
        AnswerPair(sequence(row, row.chosen), sequence(row, row.rejected), row.margin)
        for row in rows
    ]
    learnable = [p for p in pairs if p.chosen.num_targets and p.rejected.num_targets]
    if pairs and not learnable:
        raise DataError(
            f"no pair has both answers within its first {max_length} tokens; raise max_length or "
            "shorten the prompts",
            field,
        )
    return learnable


def _question_and_answer(
    prompt: str, turns: Conversation, answer: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """Ids of the prompt, or of its `turns`, and of an answer with its end token."""
    if turns:
        return question_ids(turns, tokenizer), answer_ids(turns, answer, tokenizer)
    answered = [*encode(answer, tokenizer, start=False), tokenizer.eos_token_id]
    return encode(prompt, tokenizer, start=True), answered


def encode_prompts(
    rows: Sequence[PromptRow], tokenizer: PreTrainedTokenizerBase, max_length: int, field: str
) -> list[TokenIds]:
    """Ids of each prompt. Raises DataError for one that is longer than max_length tokens."""
    encoded = []
    for index, row in enumerate(rows):
        if row.messages:
            ids = question_ids(row.messages, tokenizer)
        else:
            ids = encode(row.prompt, tokenizer, start=True) or [start_id(tokenizer)]
        if len(ids) > max_length:
            raise DataError(
                f"the prompt of row {index + 1} has {len(ids)} tokens, more than "
                f"max_prompt_length {max_length}; shorten it or raise max_prompt_length",
                field,
            )
        encoded.append(tuple(ids))
    return encoded


def answer_encoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], TokenIds]:
    """Text → what a policy samples to say it, end token included."""
    return lambda text: (*encode(text, tokenizer, start=False), tokenizer.eos_token_id)


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
