"""Trying graders out: those that read text alone, in a few threads of this process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from api.openai.graders import to_reward
from api.openai.objects import GraderErrors, GraderMetadata, GraderRun
from api.service.faults import BadParameter, ClusterUnreachable
from rlhf_service.records import FinishReason, Prompt, Rollout, Score, ScoreFailure, ScoreOutcome
from rlhf_service.spec.graders import (
    ChrfReward,
    ExactMatchReward,
    RepetitionReward,
    SentimentReward,
    TextSimilarityReward,
    TokenF1Reward,
)
from rlhf_service.spec.reward import RewardSpec, StringCheckReward, parts_of

RUN_HERE = (
    StringCheckReward,
    TextSimilarityReward,
    ChrfReward,
    ExactMatchReward,
    TokenF1Reward,
    SentimentReward,
    RepetitionReward,
)
"""What needs no model, no network and no sandbox, and ends in a time that its text's length bounds.

A regular expression is not among them: matching one may take for ever and cannot be interrupted.
"""
MAX_TEXT = 20_000
"""Characters of a sample, and of an item as JSON."""
TIMEOUT = 30.0
"""Seconds until the caller is told that it takes too long."""


class Graders:
    """What the routes under `/v1/fine_tuning/alpha/graders` call."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="grader")

    def validate(self, grader: Mapping[str, Any]) -> None:
        """Raises SpecError naming the parameter."""
        to_reward(grader, "grader")

    async def run(
        self, grader: Mapping[str, Any], sample: str, item: Mapping[str, Any]
    ) -> GraderRun:
        """Raises SpecError or a Fault; what goes wrong while grading is part of the answer."""
        reward = to_reward(grader, "grader")
        for field, part in parts_of(reward, "grader"):
            if not runs_here(part):
                raise BadParameter(
                    f"{field}: {part.type!r} is not run by the control plane; jobs run it, and tell "
                    "in their preflight what it pays for",
                    f"{field}.type",
                )
        for param, text in (("model_sample", sample), ("item", json.dumps(item))):
            if len(text) > MAX_TEXT:
                raise BadParameter(f"{param}: longer than {MAX_TEXT} characters", param)
        begun = time.monotonic()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, score, reward, sample, dict(item))
        try:
            outcome, parts = await asyncio.wait_for(future, TIMEOUT)
        except TimeoutError:
            raise ClusterUnreachable(f"no score within {TIMEOUT:g} s; try a shorter text") from None
        return told(reward, outcome, parts, time.monotonic() - begun)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def runs_here(part: object) -> bool:
    """Whether this process may run it. An encoder would bring torch in."""
    return isinstance(part, RUN_HERE) and getattr(part, "encoder", None) is None


def score(
    reward: RewardSpec, sample: str, item: dict[str, Any]
) -> tuple[ScoreOutcome, dict[str, float]]:
    """The outcome, and the scores of a multi's parts. Loads the metrics' libraries."""
    from rlhf_service.reward.build import build_reward

    prompt = Prompt(position=0, sample=0, row=0, text="", token_ids=(), item=item)
    rollout = Rollout(
        prompt=prompt,
        token_ids=(),
        logprobs=(),
        text=sample,
        finish_reason=FinishReason.EOS,
        policy_version=0,
    )
    [outcome] = build_reward(reward, {}).score([rollout])
    return outcome, dict(outcome.components) if isinstance(outcome, Score) else {}


def told(
    reward: RewardSpec, outcome: ScoreOutcome, parts: dict[str, float], seconds: float
) -> GraderRun:
    errors = errors_of(outcome) if isinstance(outcome, ScoreFailure) else GraderErrors()
    return GraderRun(
        reward=0.0 if isinstance(outcome, ScoreFailure) else outcome.value,
        sub_rewards=parts if reward.type in ("multi", "blend") else {},
        metadata=GraderMetadata(
            name=reward.name,
            type=reward.type,
            errors=errors,
            execution_time=seconds,
            scores=parts,
        ),
    )


def errors_of(failure: ScoreFailure) -> GraderErrors:
    """The failure as the kind of error that OpenAI's clients know it by."""
    # A template's column that the item lacks.
    unknown = failure.message.startswith("LookupError")
    formula = failure.kind == "not_finite"
    return GraderErrors(
        invalid_variable_error=unknown,
        formula_parse_error=formula,
        other_error=not unknown and not formula,
        other_error_details=failure.message,
    )
