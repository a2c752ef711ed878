"""Evidence of responses that could not be scored, enough to try again offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from rlhf_service.errors import StorageError
from rlhf_service.ports import RewardFunction
from rlhf_service.records import FinishReason, Prompt, Rollout, ScoreFailure, ScoreOutcome
from rlhf_service.spec.base import Section
from rlhf_service.spec.reward import RewardSpec


class Evidence(Section):
    """One failed response."""

    stage: str
    step: int
    kind: str
    message: str
    reward: RewardSpec = Field(discriminator="type")
    """What was to score it."""
    position: int
    sample: int
    row: int
    prompt: str
    prompt_ids: tuple[int, ...]
    item: dict[str, Any]
    response: str
    response_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    policy_version: int

    @classmethod
    def of(
        cls, stage: str, step: int, reward: RewardSpec, rollout: Rollout, failure: ScoreFailure
    ) -> Evidence:
        prompt = rollout.prompt
        return cls(
            stage=stage,
            step=step,
            kind=failure.kind,
            message=failure.message,
            reward=reward,
            position=prompt.position,
            sample=prompt.sample,
            row=prompt.row,
            prompt=prompt.text,
            prompt_ids=prompt.token_ids,
            item=dict(prompt.item),
            response=rollout.text,
            response_ids=rollout.token_ids,
            logprobs=rollout.logprobs,
            finish_reason=rollout.finish_reason,
            policy_version=rollout.policy_version,
        )

    def rollout(self) -> Rollout:
        """The response as it was to be scored."""
        return Rollout(
            prompt=Prompt(
                position=self.position,
                sample=self.sample,
                row=self.row,
                text=self.prompt,
                token_ids=self.prompt_ids,
                item=self.item,
            ),
            token_ids=self.response_ids,
            logprobs=self.logprobs,
            text=self.response,
            finish_reason=self.finish_reason,
            policy_version=self.policy_version,
        )


def keep(path: Path, found: Iterable[Evidence], most: int) -> None:
    """Append to `path` until it holds `most` lines. Raises StorageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8") as out:
            out.seek(0)
            held = sum(1 for _ in out)
            for evidence in islice(found, max(0, most - held)):
                out.write(evidence.model_dump_json() + "\n")
    except OSError as fault:
        raise StorageError(
            f"{path} cannot be written ({fault.strerror}); free some space, or set "
            "on_failure.evidence to 0"
        ) from fault


def read(path: Path) -> Iterator[Evidence]:
    """What was kept; a line that a crash cut short is passed over."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield Evidence.model_validate_json(line)


def rescore(evidence: Evidence, reward: RewardFunction) -> ScoreOutcome:
    """What `reward` says of the response now."""
    [outcome] = reward.score([evidence.rollout()])
    return outcome
