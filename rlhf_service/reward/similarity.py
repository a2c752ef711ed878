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
class TextSimilarity:
    """Scores by TextSimilarityReward."""

    spec: TextSimilarityReward
    similarity: Similarity

    @classmethod
    def of(cls, spec: TextSimilarityReward) -> TextSimilarity:
        return cls(spec, build_similarity(spec.evaluation_metric))

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        spec = self.spec
        value = self.similarity(render(spec.input, rollout), render(spec.reference, rollout))
        components = {spec.name: value}
        if spec.pass_threshold is not None:
            components[f"{spec.name}_passed"] = float(value >= spec.pass_threshold)
        return Score(value=value, components=components)


@dataclass(frozen=True, slots=True)
class Chrf:
    """Scores by ChrfReward."""

    spec: ChrfReward
    similarity: Similarity

    @classmethod
    def of(cls, spec: ChrfReward) -> Chrf:
        return cls(spec, chrf(spec.word_order))

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        values = [
            self.similarity(render(self.spec.input, r), render(self.spec.reference, r))
            for r in rollouts
        ]
        return [Score(value=value, components={self.spec.name: value}) for value in values]


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


def chrf(word_order: int = 0) -> Similarity:
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF(word_order=word_order)
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
