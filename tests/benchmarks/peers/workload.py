"""What both sides of a comparison are given. Plain Python: read in the peer's environment too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workload:
    """Model, prompts and settings of one comparison. Everything not named here is the same anyway:
    Adam (0.9, 0.999, 1e-5) without decay, gradient norm 1.
    """

    name: str
    method: str
    """ppo or grpo."""
    prompts_per_step: int
    samples_per_prompt: int
    limit: int
    """Most response tokens."""
    epochs: int
    """Passes over a step's responses; one optimiser step each."""
    micro_batch: int
    """Rows in one pass of the update."""
    learning_rate: float
    kl_coef: float
    threads: int
    seed: int
    device: str = "cpu"
    """Of both sides: cpu, or cuda for one GPU."""
    precision: str = "fp32"
    """This project's, fp32 or bf16 (with fp32 master weights)."""
    peer_precision: str = "fp32"
    """The peer's: bf16 is its autocast over fp32 weights."""

    @property
    def responses(self) -> int:
        """Of one step."""
        return self.prompts_per_step * self.samples_per_prompt


@dataclass(frozen=True)
class Prepared:
    """A workload in its folder: `workload.json`, `prompts.json`, and `model/`."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def write(self, workload: Workload, prompts: Sequence[Sequence[int]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "workload.json").write_text(json.dumps(asdict(workload)))
        (self.folder / "prompts.json").write_text(json.dumps([list(p) for p in prompts]))

    def workload(self) -> Workload:
        return Workload(**json.loads((self.folder / "workload.json").read_text()))

    def prompts(self) -> list[list[int]]:
        """Token ids of each."""
        found: list[list[int]] = json.loads((self.folder / "prompts.json").read_text())
        return found


def reward(token_ids: Sequence[int], eos: int) -> float:
    """Share of even token ids in a response, its end left out: the same rule for both sides."""
    said = [token for token in token_ids if token != eos]
    return sum(token % 2 == 0 for token in said) / max(1, len(said))
