"""Paired bootstrap over prompts (Koehn, EMNLP 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CHUNK = 500
"""Resamples drawn at once; bounds the memory at CHUNK × prompts."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """after − before, over the prompts that have both."""

    difference: float
    low: float
    """2.5th percentile of the resampled difference."""
    high: float
    """97.5th percentile."""
    p_value: float
    """Two-sided: twice the share of resamples on the other side of 0, at least 2 / (resamples + 1)."""
    n: int
    """Prompts compared."""


def paired_bootstrap(
    before: Sequence[float | None],
    after: Sequence[float | None],
    *,
    samples_per_prompt: int = 1,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedDifference | None:
    """Resample prompts with replacement; a prompt's samples stay together.

    Args:
        before, after: a score for each (prompt, sample), prompts outermost; None where there is none.
        samples_per_prompt: how many scores belong to one prompt.

    Returns:
        None when fewer than two prompts have a score on both sides.
    """
    old, new = (prompt_means(scores, samples_per_prompt) for scores in (before, after))
    if old.shape != new.shape:
        raise ValueError(f"{len(old)} prompts before and {len(new)} after; evaluate the same ones")
    gaps = (new - old)[np.isfinite(new - old)]
    if len(gaps) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(
        [
            gaps[rng.integers(len(gaps), size=(min(CHUNK, resamples - at), len(gaps)))].mean(axis=1)
            for at in range(0, resamples, CHUNK)
        ]
    )
    low, high = np.percentile(drawn, [2.5, 97.5])
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p_value = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return PairedDifference(float(gaps.mean()), float(low), float(high), p_value, len(gaps))


def prompt_means(scores: Sequence[float | None], samples_per_prompt: int) -> np.ndarray:
    """[prompts] mean of each prompt's scores; NaN for a prompt that lacks one."""
    grid = np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
    means: np.ndarray = grid.reshape(-1, samples_per_prompt).mean(axis=1)
    return means
