"""Nearness to a reference by the metrics of kept libraries, each loaded where it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf_service.records import Rollout, Score, ScoreOutcome
from rlhf_service.reward.base import render
from rlhf_service.spec.graders import ChrfReward, SimilarityMetric, TextSimilarityReward

Similarity = Callable[[str, str], float]
"""(text, reference) → 0 … 1."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores one rendered template by its nearness to another."""

    name: str
    input: str
    reference: str
    similarity: Similarity
    pass_threshold: float | None = None
    """When given, whether the score reaches it is a component too."""

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        value = self.similarity(render(self.input, rollout), render(self.reference, rollout))
        return scored(self.name, value, self.pass_threshold)


def scored(name: str, value: float, pass_threshold: float | None) -> Score:
    """`value` as the component `name`; with a threshold, whether it is reached is one too."""
    components = {name: value}
    if pass_threshold is not None:
        components[f"{name}_passed"] = float(value >= pass_threshold)
    return Score(value=value, components=components)


def text_similarity(spec: TextSimilarityReward) -> Comparison:
    similarity = build_similarity(spec.evaluation_metric)
    return Comparison(spec.name, spec.input, spec.reference, similarity, spec.pass_threshold)


def chrf(spec: ChrfReward) -> Comparison:
    """sacrebleu's sentence chrF."""
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF(word_order=spec.word_order)

    def similarity(text: str, reference: str) -> float:
        return float(metric.sentence_score(text, [reference]).score) / 100

    return Comparison(spec.name, spec.input, spec.reference, similarity)


def build_similarity(metric: SimilarityMetric) -> Similarity:
    """The metric as a function."""
    if metric.startswith("rouge_"):
        return rouge(metric)
    return {"bleu": bleu, "gleu": gleu, "meteor": meteor, "fuzzy_match": fuzzy_match}[metric]()


def bleu() -> Similarity:
    """Sentence BLEU without the orders that a short text cannot have."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(effective_order=True)
    return lambda text, reference: metric.sentence_score(text, [reference]).score / 100


def gleu() -> Similarity:
    from nltk.translate.gleu_score import sentence_gleu

    def similarity(text: str, reference: str) -> float:
        words = text.split()
        return float(sentence_gleu([reference.split()], words)) if words else 0.0

    return similarity


def meteor() -> Similarity:
    from nltk.translate.meteor_score import single_meteor_score

    synonyms = NoSynonyms()

    def similarity(text: str, reference: str) -> float:
        return float(single_meteor_score(reference.split(), text.split(), wordnet=synonyms))

    return similarity


class NoSynonyms:
    """Stands where METEOR asks WordNet, whose files are not installed."""

    def synsets(self, word: str) -> list[object]:
        return []


def rouge(metric: str) -> Similarity:
    from rouge_score.rouge_scorer import RougeScorer

    kind = "rougeL" if metric == "rouge_l" else f"rouge{metric[-1]}"
    scorer = RougeScorer([kind], use_stemmer=True)
    return lambda text, reference: float(scorer.score(reference, text)[kind].fmeasure)


def fuzzy_match() -> Similarity:
    from rapidfuzz import fuzz

    return lambda text, reference: fuzz.ratio(text, reference) / 100
