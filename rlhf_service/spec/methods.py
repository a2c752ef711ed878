"""The policy-gradient methods by name: what each changes in the defaults of a `ppo` stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

Method = Literal["ppo", "grpo", "dr_grpo", "rloo", "reinforce_pp"]

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ppo": {},
    # arXiv 2402.03300: group-normalised returns, each response weighs the same, KL (k3) in the loss.
    "grpo": {
        "samples_per_prompt": 4,
        "ppo": {
            "advantage": {"type": "group"},
            "aggregation": "sequence",
            "kl": {"placement": "loss", "estimator": "k3", "coef": 0.04},
        },
    },
    # arXiv 2503.20783: neither the length nor the spread of a group changes its weight.
    "dr_grpo": {
        "samples_per_prompt": 4,
        "ppo": {
            "advantage": {"type": "group", "divide_by_std": False},
            "aggregation": "fixed",
            "kl": {"placement": "loss", "estimator": "k3", "coef": 0.0},
        },
    },
    # arXiv 2402.14740: one on-policy step, KL in the reward, the group's other members as baseline.
    "rloo": {
        "samples_per_prompt": 4,
        "ppo": {"advantage": {"type": "leave_one_out"}, "aggregation": "sequence_sum", "epochs": 1},
    },
    # arXiv 2501.03262: token-level KL in the reward, whitened over the global batch, no critic.
    "reinforce_pp": {
        "ppo": {"advantage": {"type": "return_to_go"}, "kl": {"placement": "reward"}},
    },
}
"""Field → default, where it differs from PPO's."""


def with_defaults(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, completed by `defaults` section by section; what is given always wins.

    A section whose `type` is given and is another one takes no defaults of this one.
    """
    merged = dict(given)
    for name, default in defaults.items():
        if name not in merged:
            merged[name] = default
        elif isinstance(default, Mapping) and isinstance(merged[name], Mapping | BaseModel):
            own = settings_of(merged[name])
            if own.get("type", default.get("type")) == default.get("type"):
                merged[name] = with_defaults(own, default)
    return merged


def settings_of(section: Mapping[str, Any] | BaseModel) -> dict[str, Any]:
    """What a section was given, its `type` always among it."""
    if not isinstance(section, BaseModel):
        return dict(section)
    fields = {*section.model_fields_set, "type"} & type(section).model_fields.keys()
    return {name: getattr(section, name) for name in fields}
