"""A model as a plain Hugging Face folder, with a card that says how it was made."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_service.errors import StorageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What the folder's README says."""

    job: str
    name: str
    stage: str
    stages: tuple[str, ...]
    seed: int
    figures: Mapping[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """Markdown."""
        steps = "\n".join(f"{number}. {stage}" for number, stage in enumerate(self.stages, start=1))
        figures = "\n".join(f"| {name} | {value:.6g} |" for name, value in self.figures.items())
        packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "deepspeed"))
        table = f"\n| figure | value |\n|---|---|\n{figures}\n" if figures else ""
        return (
            f"---\nlibrary_name: transformers\ntags: [rlhf]\n---\n# {self.name}\n\n"
            f"Made by job `{self.job}`, stage `{self.stage}`, seed {self.seed}. Stages of the job:\n\n"
            f"{steps}\n{table}\nCharts, samples and held-out differences: `rlhf report {self.job}`. "
            f"Made with {packages}.\n"
        )


def export_model(
    folder: Path,
    model: PreTrainedModel,
    state: Mapping[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    card: ModelCard,
) -> None:
    """Write config, safetensors, tokenizer, generation config and card, then replace `folder`.

    `state` is given apart from `model`, whose own parameters may be empty shards (ZeRO-3). A crash
    leaves the old folder or the new one, never a part. Raises StorageError.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    replaced = folder.with_name(f".{folder.name}.replaced")
    for stale in (partial, replaced):
        shutil.rmtree(stale, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        model.save_pretrained(partial, state_dict=dict(state))
        tokenizer.save_pretrained(partial)
        (partial / "README.md").write_text(card.text(), encoding="utf-8")
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
    except (OSError, SafetensorError) as fault:
        raise StorageError(
            f"the model could not be written to {folder} ({fault}); free space there, then resume"
        ) from fault
    shutil.rmtree(replaced, ignore_errors=True)
