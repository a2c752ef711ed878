"""The RolloutEngine port on a Hugging Face causal LM in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from rlhf_service.errors import WeightsCorrupt, WeightsUnavailable
from rlhf_service.models.adapter import learnt_names
from rlhf_service.models.digest import digests
from rlhf_service.models.lstm import LstmState
from rlhf_service.ports import WeightSnapshot
from rlhf_service.records import FinishReason, Prompt, Rollout
from rlhf_service.rollout.sampling import draw, likeliest, uniforms
from rlhf_service.spec.ppo import SamplingSpec


class TransformersEngine:
    """Samples with a key-value cache; rows that end leave the batch."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_batch: int = 64,
    ) -> None:
        # Under an adapter the rest came from its folder and never changes.
        self._published = learnt_names(model)
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._eos = torch.tensor(sorted(eos_ids(model, tokenizer)), device=model.device)
        self._max_batch = max_batch
        self.version: int | None = None

    def load_weights(self, snapshot: WeightSnapshot) -> None:
        """Take over `snapshot`, after checking that what was loaded is what was published."""
        self.version = None  # half-loaded weights must never serve
        self._model.load_state_dict(dict(snapshot.tensors), strict=self._published is None)
        state = self._model.state_dict()
        names = self._published or state.keys()
        held = digests({name: state[name] for name in names})
        wrong = [name for name in names if held[name] != snapshot.digests.get(name)]
        if wrong:
            raise WeightsCorrupt(
                f"version {snapshot.version}: {len(wrong)} tensors differ from the published "
                f"digests, first {wrong[0]}; the weights are fetched again"
            )
        self.version = snapshot.version

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Prompt], sampling: SamplingSpec, *, version: int, seed: int
    ) -> list[Rollout]:
        if self.version != version:
            raise WeightsUnavailable(
                f"this engine serves version {self.version}, not {version}; load_weights first"
            )
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids))
        found: dict[int, Rollout] = {}
        for start in range(0, len(by_length), self._max_batch):
            part = by_length[start : start + self._max_batch]
            answers = self._sample([prompts[i] for i in part], sampling, seed)
            for index, answer in zip(part, answers, strict=True):
                found[index] = self._rollout(prompts[index], answer, version)
        return [found[i] for i in range(len(prompts))]

    def _sample(self, prompts: list[Prompt], sampling: SamplingSpec, seed: int) -> list[Answer]:
        answers = [Answer([], []) for _ in prompts]
        noise = uniforms(prompts, seed, sampling.max_new_tokens)
        alive = torch.arange(len(prompts))
        state = Decoding.start(prompts, self._model)
        for position in range(sampling.max_new_tokens):
            logits = state.forward(self._model)
            if sampling.greedy:
                tokens, logprobs = likeliest(logits, sampling.temperature)
            else:
                tokens, logprobs = draw(logits, noise[alive, position], sampling.temperature)
            for row, token, logprob in zip(
                alive.tolist(), tokens.tolist(), logprobs.tolist(), strict=True
            ):
                answers[row].token_ids.append(token)
                answers[row].logprobs.append(logprob)
            unfinished = ~torch.isin(tokens, self._eos)
            if not unfinished.any():
                break
            state.advance(tokens, unfinished)
            alive = alive[unfinished.cpu()]
        return answers

    def _rollout(self, prompt: Prompt, answer: Answer, version: int) -> Rollout:
        ended = answer.token_ids[-1] in self._eos.tolist()
        return Rollout(
            prompt=prompt,
            token_ids=tuple(answer.token_ids),
            logprobs=tuple(answer.logprobs),
            text=str(self._tokenizer.decode(answer.token_ids, skip_special_tokens=True)),
            finish_reason=FinishReason.EOS if ended else FinishReason.LENGTH,
            policy_version=version,
        )


@dataclass(slots=True)
class Answer:
    """Tokens drawn so far."""

    token_ids: list[int]
    logprobs: list[float]


class Decoding:
    """Inputs of the next forward pass of the rows still alive. Prompts are padded on the left.

    Rows with the same prompt read it together, then go apart.
    """

    def __init__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, row_of: torch.Tensor
    ) -> None:
        self.input_ids = input_ids
        self.attention_mask = attention_mask
        self._row_of: torch.Tensor | None = row_of
        """Which row of the first pass each response goes on from; None behind that pass."""
        self.cache: DynamicCache | LstmState | None = None
        """What the network itself made of the tokens so far."""

    @classmethod
    def start(cls, prompts: list[Prompt], model: PreTrainedModel) -> Decoding:
        rows = {token_ids: row for row, token_ids in enumerate(dict.fromkeys(asked(prompts)))}
        width = max(map(len, rows))
        input_ids = torch.zeros(len(rows), width, dtype=torch.long)
        attention_mask = torch.zeros_like(input_ids)
        for token_ids, row in rows.items():
            input_ids[row, width - len(token_ids) :] = torch.tensor(token_ids)
            attention_mask[row, width - len(token_ids) :] = 1
        row_of = torch.tensor([rows[token_ids] for token_ids in asked(prompts)])
        device = model.device
        return cls(input_ids.to(device), attention_mask.to(device), row_of.to(device))

    def forward(self, model: PreTrainedModel) -> torch.Tensor:
        """[B, V] logits of the next token."""
        positions = (self.attention_mask.cumsum(dim=1) - 1).clamp(min=0)
        found = model(
            input_ids=self.input_ids,
            attention_mask=self.attention_mask,
            position_ids=positions[:, -self.input_ids.shape[1] :],
            past_key_values=self.cache,
            logits_to_keep=1,
            use_cache=True,
        )
        self.cache = found.past_key_values
        logits: torch.Tensor = found.logits[:, -1]
        if self._row_of is not None:
            logits = logits[self._row_of]
            if len(self._row_of) > len(self.input_ids):
                self.cache.batch_select_indices(self._row_of)
                self.attention_mask = self.attention_mask[self._row_of]
            self._row_of = None
        return logits

    def advance(self, tokens: torch.Tensor, keep: torch.Tensor) -> None:
        """Feed `tokens` next; rows where `keep` is False leave."""
        assert self.cache is not None  # forward comes first
        if not keep.all():
            self.cache.batch_select_indices(keep.nonzero()[:, 0])
        ones = self.attention_mask.new_ones(int(keep.sum()), 1)
        self.attention_mask = torch.cat([self.attention_mask[keep], ones], dim=1)
        self.input_ids = tokens[keep, None]


def asked(prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    """The token ids of each prompt."""
    return [prompt.token_ids for prompt in prompts]


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends a response: the generation config's and the tokenizer's."""
    config = model.generation_config
    declared = None if config is None else config.eos_token_id
    listed = declared if isinstance(declared, list) else [declared]
    return {int(i) for i in [*listed, tokenizer.eos_token_id] if i is not None}
