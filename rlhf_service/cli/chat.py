"""`rlhf chat`: a conversation with a model, of the service or in a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rlhf_service.client import Client, NotFound
from rlhf_service.errors import ModelError, RlhfError

Turn = dict[str, Any]
"""role, content."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn."""

    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    """None: another answer each time."""

    def given(self) -> dict[str, Any]:
        """As a request's fields."""
        seed = {} if self.seed is None else {"seed": self.seed}
        return {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            **seed,
        }


class Speaker(Protocol):
    """A model that answers."""

    @property
    def learns_messages(self) -> bool:
        """Whether it has a chat template; if not, text goes on from a prompt."""

    def answer(self, turns: list[Turn]) -> Iterator[str]:
        """The answer to those turns, or what goes on from the last one, piece by piece."""


class Served:
    """A model of the service."""

    def __init__(self, client: Client, model: str, sampling: Sampling) -> None:
        """Raises RlhfError for a model that is not there."""
        self._client, self._model, self._sampling = client, model, sampling.given()
        try:
            # Unknown for a model that another tenant permits: such a one is just asked.
            self.learns_messages = client.models.get(model).chat is not False
        except NotFound:
            self.learns_messages = True

    def answer(self, turns: list[Turn]) -> Iterator[str]:
        speak = self._client.models
        try:
            if self.learns_messages:
                yield from speak.stream_chat(self._model, turns, **self._sampling)
            else:
                yield from speak.stream_complete(
                    self._model, turns[-1]["content"], **self._sampling
                )
        except NotFound as fault:
            raise RlhfError(
                f"{fault}; `rlhf models` lists them, `rlhf checkpoints JOB` what a job saved"
            ) from None


class Local:
    """A model folder, loaded by this process."""

    def __init__(self, folder: Path, sampling: Sampling) -> None:
        # Torch is loaded by whoever talks to a folder.
        import torch

        from rlhf_service.models.load import load_causal_lm
        from rlhf_service.models.tokenizer import load_tokenizer

        self._network = load_causal_lm(folder, torch.float32).eval()
        self._tokenizer, self._sampling = load_tokenizer(folder), sampling
        self._asked = 0

    @property
    def learns_messages(self) -> bool:
        return bool(self._tokenizer.chat_template)

    def answer(self, turns: list[Turn]) -> Iterator[str]:
        import secrets

        from rlhf_service.generation.decode import answers
        from rlhf_service.generation.protocol import Ask

        fixed = self._sampling.seed
        ask = Ask(
            prompts=(self._prompt(turns),),
            max_tokens=self._sampling.max_tokens,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            seed=secrets.randbits(31) if fixed is None else fixed,
        )
        for reply in answers(self._network, self._tokenizer, ask, lambda: False):
            if reply.type == "text":
                yield reply.text

    def _prompt(self, turns: list[Turn]) -> str:
        """Raises ModelError when the template refuses the turns."""
        if not self.learns_messages:
            return str(turns[-1]["content"])
        write = self._tokenizer.apply_chat_template
        try:
            return str(write(turns, add_generation_prompt=True, tokenize=False))
        except Exception as fault:  # whatever a template of somebody's raises
            raise ModelError(f"the model's chat template refuses this: {fault}") from None


@dataclass(slots=True)
class Conversation:
    """What was said so far."""

    speaker: Speaker
    turns: list[Turn] = field(default_factory=list)

    @classmethod
    def begin(cls, speaker: Speaker, system: str | None) -> Conversation:
        """Raises RlhfError when the model cannot be told how to behave."""
        if system is None:
            return cls(speaker)
        if not speaker.learns_messages:
            raise RlhfError("--system: this model has no chat template, it only goes on from text")
        return cls(speaker, [{"role": "system", "content": system}])

    def say(self, text: str) -> Iterator[str]:
        """The model's answer, piece by piece; once told it is part of the conversation."""
        asked = [*self.turns, {"role": "user", "content": text}]
        told = []
        for piece in self.speaker.answer(asked):
            told.append(piece)
            yield piece
        self.turns = [*asked, {"role": "assistant", "content": "".join(told)}]
