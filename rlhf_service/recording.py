"""What was sampled and scored in a step, kept and given back: a step that can be taken again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from rlhf_service.errors import StorageError, WeightsUnavailable
from rlhf_service.events import Event
from rlhf_service.ports import WeightChannel, WeightSnapshot
from rlhf_service.records import Prompt, Rollout, ScoreOutcome
from rlhf_service.spec.ppo import SamplingSpec
from rlhf_service.spec.reward import RewardSpec
from rlhf_service.storage import write_atomically

Judged = tuple[Rollout, ScoreOutcome]

REPORT = "report.json"
"""In a kept step's folder: what the step reported."""

LINE: TypeAdapter[Judged] = TypeAdapter(Judged)


def recording(folder: Path, rank: int) -> Path:
    """In a kept step's folder: a rank's responses and scores."""
    return folder / f"responses-{rank}.jsonl"


class Recording:
    """A RolloutEngine and RewardFunction that give back what a step drew."""

    def __init__(self, judged: Iterable[Judged]) -> None:
        self._judged = {(r.prompt.position, r.prompt.sample): (r, o) for r, o in judged}

    def generate(
        self, prompts: Sequence[Prompt], sampling: SamplingSpec, *, version: int, seed: int
    ) -> list[Rollout]:
        return [self._find(prompt)[0] for prompt in prompts]

    def score(self, rollouts: Sequence[Rollout]) -> list[ScoreOutcome]:
        return [self._find(rollout.prompt)[1] for rollout in rollouts]

    def _find(self, prompt: Prompt) -> Judged:
        found = self._judged.get((prompt.position, prompt.sample))
        if found is None or found[0].prompt.token_ids != prompt.token_ids:
            raise StorageError(
                f"the recording has no response {prompt.sample} to the prompt at position "
                f"{prompt.position} (row {prompt.row}) as it reads now; restore the prompts' file"
            )
        return found


class Offline:
    """Pools, weight channel and event sink of a step that is taken again: nothing leaves it."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def weights(self, max_staleness: int) -> Offline:
        return self

    def rollouts(self, model: Path, weights: WeightChannel) -> Recording:
        return self._recording

    def rewards(self, reward: RewardSpec, folders: Mapping[str, Path]) -> Recording:
        return self._recording

    def publish(self, snapshot: WeightSnapshot) -> None:
        return None

    def fetch(self, version: int) -> WeightSnapshot:
        raise WeightsUnavailable("a step taken again publishes nothing")

    def emit(self, event: Event) -> None:
        return None


def write_recording(path: Path, judged: Sequence[Judged]) -> None:
    """One response and its score a line. Floats are written so that they come back exactly."""
    write_atomically(path, "".join(LINE.dump_json(one).decode() + "\n" for one in judged))


def read_recording(path: Path) -> list[Judged]:
    """Raises StorageError."""
    try:
        lines = path.read_bytes().splitlines()
        return [LINE.validate_json(line) for line in lines]
    except (OSError, ValidationError) as fault:
        raise StorageError(f"recording {path} cannot be read: {fault}") from None
