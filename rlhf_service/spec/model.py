"""Which network a stage starts from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rlhf_service.spec.base import Section


class FolderModel(Section):
    """A local Hugging Face causal-LM folder: config.json, safetensors, tokenizer."""

    type: Literal["folder"] = "folder"
    path: str = Field(min_length=1)
    """Absolute path of the folder, readable by the cluster. Nothing is fetched from a hub."""


class ScratchModel(Section):
    """A randomly initialised network, with a byte-level BPE tokenizer trained on the stage's data."""

    type: Literal["scratch"] = "scratch"
    architecture: Literal["gpt2", "llama", "lstm"] = "llama"
    """GPT-2 style (learned positions, GELU), Llama style (rotary positions, SwiGLU), or an LSTM."""

    hidden_size: int = Field(default=256, ge=8)
    """Width of the residual stream."""

    num_layers: int = Field(default=4, ge=1)
    """Number of decoder blocks."""

    num_heads: int = Field(default=4, ge=1)
    """Attention heads per block; must divide hidden_size. An LSTM has none."""

    context_length: int = Field(default=256, ge=8)
    """Most tokens, prompt and response together, that the model can hold."""

    vocab_size: int = Field(default=4096, ge=300)
    """Tokenizer entries when it is trained here; ignored when `tokenizer` is given."""

    tokenizer: str | None = None
    """Folder of an existing tokenizer; when absent one is trained on the stage's data."""

    @model_validator(mode="after")
    def heads_divide_width(self) -> ScratchModel:
        if self.architecture == "lstm":
            return self
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by num_heads {self.num_heads}; "
                "choose a multiple"
            )
        if self.architecture == "llama" and (self.hidden_size // self.num_heads) % 2:
            raise ValueError(
                "rotary positions need an even head size; make hidden_size / num_heads even"
            )
        return self


class StageModel(Section):
    """The model that an earlier stage of the same job produced."""

    type: Literal["stage"] = "stage"
    stage: str
    """Name of that stage."""


ModelSpec = Annotated[FolderModel | ScratchModel | StageModel, Field(discriminator="type")]
