"""Where a stage's rows come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_service.spec.base import Section

DataFormat = Literal["jsonl", "csv", "parquet", "dataset"]


class DataSpec(Section):
    """A data file or folder. The stage decides which columns a row must have.

    pretrain: `text` · sft: `prompt`+`completion`, or `messages` · reward and dpo: `prompt`+`chosen`+
    `rejected` (`prompt` may be empty; a `margin` if wanted; answers may be lists of turns), or OpenAI's
    `input`+`preferred_output`+`non_preferred_output` · ppo and evaluation: `prompt` or `messages`.

    Turns are {role, content} objects; they are written by the tokenizer's chat template. Text is taken
    as it stands.
    """

    path: str = Field(min_length=1)
    """JSON Lines (`.jsonl`), CSV or TSV with a header, or Parquet file; a folder of Parquet files; or a
    folder that Hugging Face's `save_to_disk` wrote. An absolute path the cluster can read."""

    format: DataFormat | None = None
    """How to read it; told by the suffix when absent, and `jsonl` for one that is not known."""

    split: str | None = None
    """Which split of a dataset folder that has several."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Our column → the file's, where they differ: `{"prompt": "question"}`."""

    limit: int | None = Field(default=None, ge=1)
    """Use only the first this many rows; all when absent."""
