"""Writes golden.json: inputs of one PPO step and what the reference makes of them.

python -m tests.reference.make_golden
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.reference import ppo_reference as ref

GOLDEN = Path(__file__).with_name("golden.json")


def golden() -> dict[str, object]:
    """Three rows of six positions; the second has tool tokens in the middle, the third is short."""
    rng = random.Random(20)
    vocabulary, rows, width = 5, 3, 6
    mask = [
        [True] * 6,
        [True, True, False, False, True, True],
        [True, True, False, False, False, False],
    ]
    logits = [
        [[rng.gauss(0, 1) for _ in range(vocabulary)] for _ in range(width)] for _ in range(rows)
    ]
    tokens = [[rng.randrange(vocabulary) for _ in range(width)] for _ in range(rows)]
    new = [
        [ref.logprob(lo, to, 0.7) for lo, to in zip(lr, tr, strict=True)]
        for lr, tr in zip(logits, tokens, strict=True)
    ]

    def near(grid: ref.Grid, spread: float) -> ref.Grid:
        return [[x + rng.gauss(0, spread) for x in row] for row in grid]

    old, reference, sampler = near(new, 0.3), near(new, 0.5), near(new, 0.4)
    values = near([[0.0] * width] * rows, 1.0)
    new_values = near(values, 0.4)
    scores = [1.5, -0.7, 0.2]
    kls = {
        name: [
            [ref.kl(o, r, name) for o, r in zip(a, b, strict=True)]
            for a, b in zip(old, reference, strict=True)
        ]
        for name in ("k1", "k2", "k3")
    }
    rewards = ref.token_rewards(scores, kls["k1"], mask, 0.1)
    credit = [ref.gae(r, v, m, 0.98, 0.9) for r, v, m in zip(rewards, values, mask, strict=True)]
    advantages, returns = [c[0] for c in credit], [c[1] for c in credit]
    white = ref.whiten(advantages, mask, shift_mean=True)
    places = [(b, t) for b in range(rows) for t in range(width) if mask[b][t]]
    return {
        "inputs": {
            "mask": mask,
            "logits": logits,
            "tokens": tokens,
            "old": old,
            "reference": reference,
            "sampler": sampler,
            "values": values,
            "new_values": new_values,
            "scores": scores,
        },
        "logprobs": new,
        "entropy": [[ref.entropy(lo, 0.7) for lo in lr] for lr in logits],
        "kl": kls,
        "rewards": rewards,
        "discounted_return": [
            ref.discounted_return(r, m, 0.98) for r, m in zip(rewards, mask, strict=True)
        ],
        "advantages": advantages,
        "returns": returns,
        "whitened": white,
        "whitened_keeping_mean": ref.whiten(advantages, mask, shift_mean=False),
        "policy_loss": sum(
            ref.policy_loss(new[b][t], old[b][t], white[b][t], 0.2, 0.28, 3.0) for b, t in places
        )
        / len(places),
        "value_loss": sum(
            ref.value_loss(new_values[b][t], values[b][t], returns[b][t], 0.2) for b, t in places
        )
        / len(places),
        "weights": [
            [ref.importance_weight(o, s, 1.2) for o, s in zip(a, b, strict=True)]
            for a, b in zip(old, sampler, strict=True)
        ],
        "next_kl_coef": [
            ref.next_kl_coef(0.1, k, 6.0, 10_000, 64) for k in (0.0, 5.9, 6.0, 6.6, 60.0)
        ],
        "bradley_terry": [
            ref.bradley_terry(c, r, m)
            for c, r, m in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.5), (3.0, -2.0, 1.0))
        ],
    }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=1) + "\n", encoding="utf-8")
