"""An LSTM language model (Hochreiter & Schmidhuber 1997) as a Hugging Face network.

Importing this module registers it with the Auto classes, so that folders of `model_type: rlhf_lstm` load
like any other, without remote code. It takes the inputs the decoders take, padded on either side or
packed; a padding token never touches the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    SequenceClassifierOutputWithPast,
)


class LstmConfig(PreTrainedConfig):
    """`num_hidden_layers` LSTM layers of width `hidden_size`, embeddings of the same width."""

    model_type = "rlhf_lstm"
    keys_to_ignore_at_inference = ("past_key_values",)

    vocab_size: int = 4096
    hidden_size: int = 256
    num_hidden_layers: int = 2
    max_position_embeddings: int = 256
    """Most tokens a row may have. The network itself has no limit; jobs plan by this one."""
    initializer_range: float = 0.3
    """Standard deviation of new embeddings: at a decoder's 0.02 what tells two tokens apart is lost in
    the gates, and training stays at the tokens' frequencies for hundreds of steps."""
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = True


@dataclass(slots=True)
class LstmState:
    """What a sequence leaves behind: [layers, B, hidden] each. Stands where decoders have a cache."""

    hidden: torch.Tensor
    cell: torch.Tensor

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows at `indices`, in that order."""
        self.hidden, self.cell = self.hidden[:, indices], self.cell[:, indices]

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """The same, as beam search calls it."""
        self.batch_select_indices(beam_idx)


class LstmPreTrainedModel(PreTrainedModel):
    """What the LSTM networks share with Hugging Face's machinery."""

    config_class = LstmConfig
    base_model_prefix = "model"
    _no_split_modules = ("LSTM",)
    _is_stateful = True

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        if isinstance(module, torch.nn.LSTM):
            for name, parameter in module.named_parameters():
                gates = parameter.chunk(4)  # i, f, g, o
                if "weight_ih" in name:  # Glorot & Bengio 2010
                    for gate in gates:
                        torch.nn.init.xavier_uniform_(gate)
                elif "weight_hh" in name:  # Saxe et al. 2014
                    for gate in gates:
                        torch.nn.init.orthogonal_(gate)
                else:
                    torch.nn.init.zeros_(parameter)
                    if "bias_ih" in name:  # remembering is the default (Gers et al. 2000)
                        torch.nn.init.ones_(gates[1])
        elif isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=module.in_features**-0.5)


class LstmModel(LstmPreTrainedModel):
    """Embeddings and recurrent layers."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.embed_tokens = torch.nn.Embedding(config.vocab_size, width)
        self.lstm = torch.nn.LSTM(width, width, config.num_hidden_layers, batch_first=True)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: LstmState | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """Outputs 0 at padding.

        Args:
            input_ids: [B, L].
            attention_mask: [B, past + L], 1 where there is a token; all tokens when absent.
            position_ids: [B, L]; without a mask, a row starts anew wherever it is 0.
            past_key_values: the state after the tokens before these.
        """
        taken = self._taken(input_ids, attention_mask, position_ids)
        embedded = self.embed_tokens(input_ids)
        outputs, state = self._run(embedded, taken, past_key_values, bool(use_cache))
        return BaseModelOutputWithPast(last_hidden_state=outputs, past_key_values=state)

    def _taken(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
    ) -> list[torch.Tensor]:
        """Flat indices of the tokens of each sequence, in order."""
        places = torch.arange(input_ids.numel(), device=input_ids.device).view(input_ids.shape)
        if attention_mask is not None:
            real = attention_mask[:, -input_ids.shape[1] :].bool()
            return [row[mask] for row, mask in zip(places, real, strict=True)]
        if position_ids is None or input_ids.shape[1] == 1:
            return list(places)
        flat = position_ids.expand_as(input_ids).flatten()
        starts = (flat == 0).nonzero()[:, 0].tolist()
        edges = sorted({0, *range(0, flat.numel(), input_ids.shape[1]), *starts, flat.numel()})
        return [places.flatten()[a:b] for a, b in pairwise(edges)]

    def _run(
        self,
        embedded: torch.Tensor,
        taken: list[torch.Tensor],
        past: LstmState | None,
        keep_state: bool,
    ) -> tuple[torch.Tensor, LstmState | None]:
        """Each sequence through the layers by itself; its outputs back at their places."""
        shape, width = embedded.shape[:2], embedded.shape[2]
        flat = embedded.flatten(0, 1)
        rows = [flat[places] for places in taken]
        lengths = torch.tensor([max(1, len(row)) for row in rows])
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        if padded.shape[1] == 0:
            padded = padded.new_zeros(len(rows), 1, width)
        before = None if past is None else (past.hidden, past.cell)
        if keep_state and len(lengths.unique()) > 1:
            packed = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
            found, (hidden, cell) = self.lstm(packed, before)
            outputs, _ = pad_packed_sequence(found, batch_first=True)
        else:
            # What follows a sequence changes none of its outputs, only the state behind it; and torch
            # has a kernel for whole rows that is several times as fast.
            outputs, (hidden, cell) = self.lstm(padded, before)
        whole = torch.zeros_like(flat)
        places = torch.cat(taken)
        whole = whole.index_put(
            (places,), torch.cat([outputs[i, : len(p)] for i, p in enumerate(taken)])
        )
        return whole.view(*shape, width), LstmState(hidden, cell) if keep_state else None


class LstmForCausalLM(LstmPreTrainedModel, GenerationMixin):
    """Next-token prediction; the output projection is the embedding when tied."""

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """`generate` starts without a cache and takes the state that the first pass returns."""
        return False

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: LstmConfig) -> None:
        super().__init__(config)
        self.model = LstmModel(config)
        self.lm_head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: LstmState | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, K, V] at the last `logits_to_keep` columns, or at those listed; 0 is all."""
        found = self.model(input_ids, attention_mask, position_ids, past_key_values, use_cache)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutputWithPast(
            logits=self.lm_head(found.last_hidden_state[:, kept]),
            past_key_values=found.past_key_values,
        )


class LstmForSequenceClassification(LstmPreTrainedModel):
    """One score for each sequence, read at its last token."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = LstmModel(config)
        self.score = torch.nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutputWithPast:
        """Logits [B, labels] of [B, L] sequences padded on the right."""
        hidden = self.model(input_ids, attention_mask).last_hidden_state
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        last = (mask.sum(dim=1) - 1).clamp(min=0)
        pooled = hidden[torch.arange(len(last), device=hidden.device), last]
        return SequenceClassifierOutputWithPast(logits=self.score(pooled))


AutoConfig.register(LstmConfig.model_type, LstmConfig)
AutoModel.register(LstmConfig, LstmModel)
AutoModelForCausalLM.register(LstmConfig, LstmForCausalLM)
AutoModelForSequenceClassification.register(LstmConfig, LstmForSequenceClassification)
