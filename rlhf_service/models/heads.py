"""Networks with a scalar head: the critic and the reward model."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlhf_service.errors import ModelError
from rlhf_service.models.export import ModelCard, export_model
from rlhf_service.models.load import load_config

BIAS = "reward_bias"


class ValueModel(torch.nn.Module):
    """A decoder's trunk and a linear head: one value for each position."""

    def __init__(self, trunk: PreTrainedModel) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = torch.nn.Linear(width_of(trunk), 1, bias=False)
        torch.nn.init.zeros_(self.head.weight)

    @classmethod
    def of(cls, causal_lm: PreTrainedModel) -> ValueModel:
        """On the trunk of `causal_lm`, which it takes over."""
        return cls(causal_lm.base_model)

    @classmethod
    def load(cls, folder: Path) -> ValueModel:
        """On the trunk of a causal LM's or a reward model's folder. Raises ModelError."""
        config = load_config(folder)
        trunk = AutoModel.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        return cls(trunk)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """[B, T] values."""
        hidden = self.trunk(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state
        return self.head(hidden)[..., 0]


class RewardModel(torch.nn.Module):
    """A sequence classifier with one label, read at the last attended token.

    Saved as a standard `AutoModelForSequenceClassification` folder; `reward_bias` in its
    config.json is added to the score so that reference answers average 0.
    """

    def __init__(self, classifier: PreTrainedModel, bias: float = 0.0) -> None:
        super().__init__()
        self.classifier = classifier
        self.bias = bias

    @classmethod
    def of(cls, causal_lm: PreTrainedModel, seed: int) -> RewardModel:
        """On the trunk of `causal_lm`; the head is drawn with std 1/√(d+1) (Stiennon et al. 2020)."""
        config = causal_lm.config.__class__.from_dict(
            {**causal_lm.config.to_dict(), "num_labels": 1}
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            classifier = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
            torch.nn.init.normal_(classifier.score.weight, std=(width_of(causal_lm) + 1) ** -0.5)
        classifier.base_model.load_state_dict(causal_lm.base_model.state_dict())
        return cls(classifier)

    @classmethod
    def load(cls, folder: Path) -> RewardModel:
        """From a folder that `export` wrote. Raises ModelError."""
        config = load_config(folder)
        try:
            classifier = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
            )
        except (OSError, ValueError) as fault:
            raise ModelError(f"{folder} has no reward model that can be loaded: {fault}") from None
        return cls(classifier, float(getattr(config, BIAS, 0.0)))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """[B] scores of right-padded [B, T] sequences."""
        hidden = self.classifier.base_model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        last = attention_mask.sum(dim=1) - 1
        pooled = hidden[torch.arange(len(last), device=hidden.device), last]
        return self.classifier.score(pooled)[:, 0] + self.bias

    def export(
        self,
        folder: Path,
        state: dict[str, torch.Tensor],
        tokenizer: PreTrainedTokenizerBase,
        bias: float,
        card: ModelCard,
    ) -> None:
        """Write a standard folder from the whole `state` of this module."""
        setattr(self.classifier.config, BIAS, bias)
        own = {name.removeprefix("classifier."): tensor for name, tensor in state.items()}
        export_model(folder, self.classifier, own, tokenizer, card)


def width_of(model: PreTrainedModel) -> int:
    """Width of the residual stream."""
    return int(model.config.hidden_size)
