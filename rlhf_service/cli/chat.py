"""Answers of a model folder, sampled on this machine."""

from __future__ import annotations

from pathlib import Path

from rlhf_service.data.tokens import encode, start_id
from rlhf_service.records import Prompt
from rlhf_service.rollout.build import serve_folder
from rlhf_service.spec.ppo import SamplingSpec


class Chat:
    """One model, one answer for each prompt."""

    def __init__(self, folder: Path, max_new_tokens: int, temperature: float, seed: int) -> None:
        self._engine, self._tokenizer = serve_folder(folder)
        self._sampling = SamplingSpec(max_new_tokens=max_new_tokens, temperature=temperature)
        self._seed, self._asked = seed, 0

    def answer(self, prompt: str) -> str:
        """A sampled continuation; the chat template is used when the tokenizer has one."""
        text = prompt
        if self._tokenizer.chat_template:
            turns = [{"role": "user", "content": prompt}]
            text = str(
                self._tokenizer.apply_chat_template(
                    turns, add_generation_prompt=True, tokenize=False
                )
            )
        ids = encode(text, self._tokenizer, start=not self._tokenizer.chat_template)
        asked = Prompt(
            position=self._asked,
            sample=0,
            row=0,
            text=prompt,
            token_ids=tuple(ids or [start_id(self._tokenizer)]),
        )
        self._asked += 1
        [rollout] = self._engine.generate([asked], self._sampling, version=1, seed=self._seed)
        return rollout.text
