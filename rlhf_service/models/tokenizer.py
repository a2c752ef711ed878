"""Tokenizers: trained here, or loaded from a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rlhf_service.errors import ModelError

PAD, BOS, EOS = "<pad>", "<s>", "</s>"

ROLES = ("<|system|>", "<|developer|>", "<|user|>", "<|assistant|>", "<|tool|>")
"""Tokens that open a turn."""

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Chat template of a tokenizer trained on conversations: who speaks, what, the end token."""


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, *, conversations: bool = False
) -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most `vocab_size` entries. Padding, start and end are three tokens; for
    `conversations` there is one for each role, and a chat template.

    Deterministic in the texts and their order. It adds no special tokens by itself.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS, *(ROLES if conversations else ())],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    trained = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS
    )
    if conversations:
        trained.chat_template = TEMPLATE
    return trained


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder. Raises ModelError.

    A tokenizer without a padding token pads with its end token: padding is always masked by
    position, so the end token stays learnable.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as fault:  # the Rust parser raises plain Exception
        raise ModelError(
            f"{folder} has no usable tokenizer ({fault}); add tokenizer.json"
        ) from None
    # An encoder's tokenizer ends texts with its separator.
    if tokenizer.eos_token_id is None and tokenizer.sep_token_id is None:
        raise ModelError(f"the tokenizer in {folder} has no end token; set eos_token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
