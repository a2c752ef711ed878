"""Float64 reference of the RLHF maths: plain Python loops, no torch, no vector tricks.

Written from the papers (Ziegler 1909.08593, Schulman 1707.06347 and 1506.02438, Huang 2403.17031),
so that the torch code is held against something that shares none of its code. Sequences are lists
of floats; `mask` says where the policy produced the token and may have holes.
"""

from __future__ import annotations

import math

Grid = list[list[float]]
Mask = list[list[bool]]


def logprob(logits: list[float], token: int, temperature: float) -> float:
    """log softmax(logits / temperature)[token]."""
    scaled = [x / temperature for x in logits]
    top = max(scaled)
    return scaled[token] - top - math.log(sum(math.exp(x - top) for x in scaled))


def entropy(logits: list[float], temperature: float) -> float:
    """−Σ p log p in nats."""
    logs = [logprob(logits, token, temperature) for token in range(len(logits))]
    return -sum(math.exp(x) * x for x in logs)


def kl(new: float, ref: float, estimator: str) -> float:
    """Schulman's estimators of one token."""
    k1 = min(20.0, max(-20.0, new - ref))
    return {"k1": k1, "k2": k1 * k1 / 2, "k3": math.exp(-k1) - 1 + k1}[estimator]


def token_rewards(scores: list[float], kls: Grid, mask: Mask, coef: float) -> Grid:
    """−β·kl on each response token, the score on the last."""
    rewards = []
    for score, row, here in zip(scores, kls, mask, strict=True):
        out = [-coef * k if m else 0.0 for k, m in zip(row, here, strict=True)]
        places = [t for t, m in enumerate(here) if m]
        if places:
            out[places[-1]] += score
        rewards.append(out)
    return rewards


def discounted_return(rewards: list[float], mask: list[bool], gamma: float) -> float:
    """Σ γ^t R_{t+1} over response tokens."""
    chosen = [r for r, m in zip(rewards, mask, strict=True) if m]
    return sum(gamma**t * r for t, r in enumerate(chosen))


def gae(
    rewards: list[float], values: list[float], mask: list[bool], gamma: float, lam: float
) -> tuple[list[float], list[float]]:
    """Advantages and returns of one row: only response tokens take part, in their order."""
    places = [t for t, m in enumerate(mask) if m]
    advantages, returns = [0.0] * len(mask), [0.0] * len(mask)
    for index, t in enumerate(places):
        total = 0.0
        for ahead, u in enumerate(places[index:]):
            later = places[index + ahead + 1 :]
            next_value = values[later[0]] if later else 0.0
            delta = rewards[u] + gamma * next_value - values[u]
            total += (gamma * lam) ** ahead * delta
        advantages[t] = total
        returns[t] = total + values[t]
    return advantages, returns


def whiten(grid: Grid, mask: Mask, shift_mean: bool) -> Grid:
    """Unit population variance over every counted token of the batch."""
    chosen = [
        v for row, here in zip(grid, mask, strict=True) for v, m in zip(row, here, strict=True) if m
    ]
    mean = sum(chosen) / len(chosen)
    variance = sum((v - mean) ** 2 for v in chosen) / len(chosen)
    back = 0.0 if shift_mean else mean
    return [
        [
            (v - mean) / math.sqrt(variance + 1e-8) + back if m else 0.0
            for v, m in zip(row, here, strict=True)
        ]
        for row, here in zip(grid, mask, strict=True)
    ]


def policy_loss(
    new: float, old: float, advantage: float, low: float, high: float, dual: float | None
) -> float:
    """Clipped surrogate of one token, as a loss."""
    ratio = math.exp(min(20.0, max(-20.0, new - old)))
    clipped = min(1 + high, max(1 - low, ratio))
    loss = max(-advantage * ratio, -advantage * clipped)
    if dual is not None and advantage < 0:
        loss = min(loss, -dual * advantage)
    return loss


def value_loss(value: float, old: float, target: float, clip: float | None) -> float:
    """Clipped squared error of one token, halved."""
    error = (value - target) ** 2
    if clip is not None:
        near = min(old + clip, max(old - clip, value))
        error = max(error, (near - target) ** 2)
    return error / 2


def importance_weight(old: float, sampler: float, cap: float) -> float:
    """Truncated at `cap` from above only."""
    return min(cap, math.exp(min(20.0, max(-20.0, old - sampler))))


def next_kl_coef(coef: float, measured: float, target: float, horizon: int, count: int) -> float:
    """Ziegler's proportional controller."""
    error = min(0.2, max(-0.2, measured / target - 1))
    return coef * (1 + error * count / horizon)


def bradley_terry(chosen: float, rejected: float, margin: float) -> float:
    """−log σ(chosen − rejected − margin)."""
    return math.log1p(math.exp(-(chosen - rejected - margin)))
