"""Responses of several turns: the policy, the environment, the policy again.

Tokens in, tokens out: what the policy sampled is never encoded again; of the environment's replies
the ids are kept. A response's `action_mask` tells the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from rlhf_service.environment.base import Environment
from rlhf_service.ports import RolloutEngine
from rlhf_service.records import FinishReason, Prompt, Rollout
from rlhf_service.spec.ppo import SamplingSpec

TURN_SEED = 1_000_003
"""Between the seeds of one turn and the next, so that no turn draws with another's numbers."""


@dataclass(frozen=True, slots=True)
class TurnEngine:
    """A RolloutEngine whose responses go on while the environment replies."""

    engine: RolloutEngine
    environment: Environment
    tokenizer: PreTrainedTokenizerBase
    max_turns: int

    def generate(
        self, prompts: Sequence[Prompt], sampling: SamplingSpec, *, version: int, seed: int
    ) -> list[Rollout]:
        """`sampling.max_new_tokens` bounds a whole response, the environment's tokens included."""
        done = self.engine.generate(prompts, sampling, version=version, seed=seed)
        for turn in range(1, self.max_turns):
            open_ones: dict[int, Rollout] = {}
            for index, rollout in enumerate(done):
                reply = None if rollout.truncated else self.environment.reply(rollout.text)
                if reply is None:
                    continue
                told = self._told(rollout, reply)
                if len(told.token_ids) < sampling.max_new_tokens:
                    open_ones[index] = told
                else:
                    # There is no room for the reply and another token.
                    done[index] = replace(rollout, finish_reason=FinishReason.LENGTH)
            if not open_ones:
                break
            for index, answer in self._answers(open_ones, sampling, version, seed, turn).items():
                done[index] = answer
        return done

    def _told(self, rollout: Rollout, reply: str) -> Rollout:
        """The response with the environment's reply at its end."""
        ids = tuple(self.tokenizer.encode(reply, add_special_tokens=False))
        return replace(
            rollout,
            token_ids=rollout.token_ids + ids,
            logprobs=rollout.logprobs + (0.0,) * len(ids),
            action_mask=rollout.actions + (False,) * len(ids),
            transcript=(rollout.transcript or rollout.text) + reply,
        )

    def _answers(
        self,
        open_ones: dict[int, Rollout],
        sampling: SamplingSpec,
        version: int,
        seed: int,
        turn: int,
    ) -> dict[int, Rollout]:
        """The next turn of each open response."""
        answers = {}
        # Responses with the same room left are asked together: the limit belongs to a request.
        rooms = {
            index: sampling.max_new_tokens - len(r.token_ids) for index, r in open_ones.items()
        }
        for room in sorted(set(rooms.values())):
            indices = [index for index in open_ones if rooms[index] == room]
            asked = [
                replace(r.prompt, token_ids=r.prompt.token_ids + r.token_ids)
                for r in (open_ones[index] for index in indices)
            ]
            limited = sampling.model_copy(update={"max_new_tokens": room})
            found = self.engine.generate(
                asked, limited, version=version, seed=seed + turn * TURN_SEED
            )
            for index, answer in zip(indices, found, strict=True):
                answers[index] = joined(open_ones[index], answer)
        return answers


def joined(before: Rollout, answer: Rollout) -> Rollout:
    """One response of what was said so far and the turn that answers it."""
    return replace(
        answer,
        prompt=before.prompt,
        token_ids=before.token_ids + answer.token_ids,
        logprobs=before.logprobs + answer.logprobs,
        action_mask=before.actions + (True,) * len(answer.token_ids),
        transcript=before.transcript + answer.text,
        seconds=before.seconds + answer.seconds,
    )
