"""Rewards that compare or read text, named as the OpenAI fine-tuning API names its graders.

`input` and `reference` are templates: `{{sample.output_text}}` is the response and
`{{item.<column>}}` a column of the prompt's data row.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rlhf_service.spec.base import Section
from rlhf_service.spec.model import FolderModel

OUTPUT = "{{sample.output_text}}"
REFERENCE = "{{item.reference}}"

SimilarityMetric = Literal[
    "bleu",
    "gleu",
    "meteor",
    "rouge_1",
    "rouge_2",
    "rouge_3",
    "rouge_4",
    "rouge_5",
    "rouge_l",
    "fuzzy_match",
    "cosine",
]


class TextSimilarityReward(Section):
    """Nearness to a reference, 0 … 1 (−1 … 1 for `cosine`)."""

    type: Literal["text_similarity"] = "text_similarity"
    name: str = "text_similarity"
    """Name of this component in every Score."""

    input: str = OUTPUT
    """What is compared."""

    reference: str = REFERENCE
    """What it is compared with."""

    evaluation_metric: SimilarityMetric
    """`bleu` is sacrebleu's sentence BLEU with effective order; `gleu` and `meteor` are NLTK's,
    `meteor` by exact and stem matches (synonyms want WordNet's files, which are not installed);
    `rouge_*` is the F-measure of Google's rouge-score with stemming; `fuzzy_match` is the share of
    characters that need no edit (normalised indel similarity); `cosine` that of the texts'
    embeddings by `encoder`."""

    encoder: FolderModel | None = None
    """For `cosine`: folder of a sentence encoder; a text is embedded as the mean of its tokens' last
    hidden states."""

    pass_threshold: float | None = Field(default=None, ge=0, le=1)
    """As in the OpenAI API: a score of at least this counts as passed, which is reported as the
    component `<name>_passed`; the score stays what it is."""

    @model_validator(mode="after")
    def cosine_needs_an_encoder(self) -> TextSimilarityReward:
        if (self.evaluation_metric == "cosine") is not (self.encoder is not None):
            raise ValueError(
                "evaluation_metric cosine needs `encoder`, a sentence encoder's folder; the other "
                "metrics have no use for one"
            )
        return self


class ChrfReward(Section):
    """chrF of the response against the reference (Popović 2015), by sacrebleu, 0 … 1."""

    type: Literal["chrf"] = "chrf"
    name: str = "chrf"
    """Name of this component in every Score."""

    input: str = OUTPUT
    """What is compared."""

    reference: str = REFERENCE
    """What it is compared with."""

    word_order: int = Field(default=0, ge=0, le=2)
    """Word n-grams counted beside the characters'; 2 is chrF++."""


class ExactMatchReward(Section):
    """1 when the answers are equal after SQuAD's normalisation, else 0 (arXiv 1606.05250)."""

    type: Literal["exact_match"] = "exact_match"
    name: str = "exact_match"
    """Name of this component in every Score."""

    input: str = OUTPUT
    """What is compared."""

    answers: str = "reference"
    """Column of the data row with the right answer, or a list of right answers."""


class TokenF1Reward(Section):
    """F1 over the words two answers share, after SQuAD's normalisation, 0 … 1 (arXiv 1606.05250)."""

    type: Literal["f1"] = "f1"
    name: str = "f1"
    """Name of this component in every Score."""

    input: str = OUTPUT
    """What is compared."""

    answers: str = "reference"
    """Column of the data row with the right answer, or a list of right answers: the nearest counts."""


class SentimentReward(Section):
    """VADER's compound polarity (Hutto & Gilbert 2014), −1 … 1."""

    type: Literal["sentiment"] = "sentiment"
    name: str = "sentiment"
    """Name of this component in every Score."""

    input: str = OUTPUT
    """What is read."""

    target: Literal["positive", "negative"] = "positive"
    """Which end of the scale is 1."""


class RepetitionReward(Section):
    """Minus the share of word n-grams that occurred before in the text, −1 … 0."""

    type: Literal["repetition"] = "repetition"
    name: str = "repetition"
    """Name of this component in every Score."""

    input: str = OUTPUT
    """What is read."""

    ngram: int = Field(default=3, ge=1)
    """Words in an n-gram."""
