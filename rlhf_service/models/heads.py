"""Networks with a scalar head: the critic and the reward model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlhf_service.errors import ModelError
from rlhf_service.models.adapter import adapt, merge
from rlhf_service.models.check import CLASSIFIER
from rlhf_service.models.export import ModelCard, export_model
from rlhf_service.models.load import load_config, load_network
from rlhf_service.spec.adapter import LoraSpec

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
        return cls(load_network(AutoModel, folder, config, torch.float32, "decoder"))

    def adapt(self, lora: LoraSpec, seed: int, base: Path) -> None:
        """Freeze the trunk, read from `base`, under an adapter; the head learns in full."""
        self.trunk = adapt(self.trunk, lora, seed, base)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **rest: Any,
    ) -> torch.Tensor:
        """[B, T] values."""
        hidden = self.trunk(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
            **rest,
        ).last_hidden_state
        return self.head(hidden)[..., 0]


class RewardModel(torch.nn.Module):
    """A sequence classifier with one label: a decoder read at the last attended token, or an encoder.

    Saved as a standard `AutoModelForSequenceClassification` folder; `reward_bias` in its
    config.json is added to the score so that reference answers average 0.
    """

    def __init__(self, classifier: PreTrainedModel, bias: float = 0.0) -> None:
        super().__init__()
        self.classifier = classifier
        self.bias = bias

    @classmethod
    def of(cls, network: PreTrainedModel, seed: int) -> RewardModel:
        """On the trunk of a causal LM or encoder; the head is drawn with std 1/√(d+1) (Stiennon et
        al. 2020). Raises ModelError for an architecture that has no classifier.
        """
        one_label = {"id2label": {0: "score"}, "label2id": {"score": 0}}
        config = network.config.__class__.from_dict({**network.config.to_dict(), **one_label})
        if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
            raise ModelError(
                f"a {config.model_type} model cannot become a reward model: transformers has no "
                "sequence classifier of it; start from another architecture"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            classifier = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
            head = classifier.score if hasattr(classifier, "score") else classifier.classifier
            if not isinstance(head, torch.nn.Linear):
                raise ModelError(
                    f"a {config.model_type} model cannot become a reward model: its classifier is no "
                    "single layer; start from another architecture"
                )
            torch.nn.init.normal_(head.weight, std=(width_of(network) + 1) ** -0.5)
        # Classifiers of some encoders have no pooler, which their plain networks have.
        trunk = classifier.base_model.state_dict()
        known = {k: v for k, v in network.base_model.state_dict().items() if k in trunk}
        classifier.base_model.load_state_dict(known)
        return cls(classifier)

    @classmethod
    def load(cls, folder: Path) -> RewardModel:
        """From a folder that `export` wrote. Raises ModelError."""
        config = load_config(folder)
        names = list(config.architectures or ())
        if config.num_labels != 1 or not any(name.endswith(CLASSIFIER) for name in names):
            raise ModelError(
                f"{folder} is no reward model (architectures {names}, {config.num_labels} labels); "
                "give the folder that a reward stage left"
            )
        classifier = load_network(
            AutoModelForSequenceClassification, folder, config, torch.float32, "reward model"
        )
        return cls(classifier, float(getattr(config, BIAS, 0.0)))

    def adapt(self, lora: LoraSpec, seed: int, base: Path) -> None:
        """Freeze the trunk, read from `base`, under an adapter; the head learns in full."""
        self._set_trunk(adapt(self.classifier.base_model, lora, seed, base))

    def merged(self, learnt: Mapping[str, torch.Tensor]) -> RewardModel:
        """The plain model that an adapted one with the tensors `learnt` amounts to. It is used up."""
        self.load_state_dict(dict(learnt), strict=False)
        self._set_trunk(merge(self.classifier.base_model, {}))
        return self

    def _set_trunk(self, trunk: torch.nn.Module) -> None:
        setattr(self.classifier, self.classifier.base_model_prefix, trunk)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """[B] scores of right-padded [B, T] sequences."""
        if not hasattr(self.classifier, "score"):
            read = self.classifier(input_ids=input_ids, attention_mask=attention_mask)
            return read.logits[:, 0] + self.bias
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
