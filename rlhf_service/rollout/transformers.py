"""The RolloutEngine port on a Hugging Face causal LM in this process."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_service.errors import WeightsCorrupt, WeightsUnavailable
from rlhf_service.models.adapter import learnt_names
from rlhf_service.models.digest import digests
from rlhf_service.models.ragged import takes_ragged, use_ragged
from rlhf_service.ports import WeightSnapshot
from rlhf_service.records import FinishReason, Prompt, Rollout
from rlhf_service.rollout.growing import GrowingSampler
from rlhf_service.rollout.recorded import recorder_on
from rlhf_service.rollout.sampling import Answer
from rlhf_service.rollout.slots import SlotSampler
from rlhf_service.spec.ppo import SamplingSpec


class TransformersEngine:
    """Samples with a key-value cache; responses that end make room for those still waiting."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_sequences: int = 64,
    ) -> None:
        # Under an adapter the rest came from its folder and never changes.
        self._published = learnt_names(model)
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._eos = torch.tensor(sorted(eos_ids(model, tokenizer)), device=model.device)
        self._sampler: SlotSampler | GrowingSampler
        if takes_ragged(model):
            use_ragged(model)
            self._sampler = SlotSampler(
                self._model, self._eos, max_sequences, recorder_on(model.device)
            )
        else:
            self._sampler = GrowingSampler(self._model, self._eos, max_sequences)
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
        answers = self._sampler.sample(prompts, sampling, seed) if prompts else []
        return [
            self._rollout(prompt, answer, version)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def _rollout(self, prompt: Prompt, answer: Answer, version: int) -> Rollout:
        ended = answer.token_ids[-1] in self._eos.tolist()
        return Rollout(
            prompt=prompt,
            token_ids=tuple(answer.token_ids),
            logprobs=tuple(answer.logprobs),
            text=str(self._tokenizer.decode(answer.token_ids, skip_special_tokens=True)),
            finish_reason=FinishReason.EOS if ended else FinishReason.LENGTH,
            policy_version=version,
            seconds=answer.seconds,
        )


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends a response: the generation config's and the tokenizer's."""
    config = model.generation_config
    declared = None if config is None else config.eos_token_id
    listed = declared if isinstance(declared, list) else [declared]
    return {int(i) for i in [*listed, tokenizer.eos_token_id] if i is not None}
