"""A fine-tuning request as the OpenAI API has it, and our settings beside it under `rlhf`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from rlhf_service.spec.job import LabelKey, LabelValue

Auto = Literal["auto"]
FileId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Section(BaseModel):
    """A part of a request. What is not known is refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Supervised(Section):
    """Hyperparameters of every method."""

    batch_size: Annotated[int, Field(ge=1)] | Auto = "auto"
    """Rows in one optimiser step; for `reinforcement`, prompts in one step."""
    learning_rate_multiplier: Annotated[float, Field(gt=0)] | Auto = "auto"
    """Times the method's default learning rate."""
    n_epochs: Annotated[int, Field(ge=1, le=1000)] | Auto = "auto"
    """Passes over the training file."""


class Dpo(Supervised):
    """And those of `dpo`."""

    beta: Annotated[float, Field(gt=0, le=2)] | Auto = "auto"
    """How strongly the policy is held to the reference."""


class Reinforcement(Supervised):
    """And those of `reinforcement`."""

    compute_multiplier: Annotated[float, Field(gt=1e-5, le=10)] | Auto = "auto"
    """Times the method's default number of responses to a prompt."""
    eval_interval: Annotated[int, Field(ge=1)] | Auto = "auto"
    """Steps between two evaluations on the validation file."""
    eval_samples: Annotated[int, Field(ge=1)] | Auto = "auto"
    """Responses to each evaluation prompt."""
    reasoning_effort: Literal["default"] | None = None
    """Only `default`: the model decides for itself."""


class SupervisedMethod(Section):
    hyperparameters: Supervised = Supervised()


class DpoMethod(Section):
    hyperparameters: Dpo = Dpo()


class ReinforcementMethod(Section):
    grader: dict[str, Any]
    """An OpenAI grader, or any reward of this service."""
    hyperparameters: Reinforcement = Reinforcement()


class Method(Section):
    """How to train."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedMethod | None = None
    dpo: DpoMethod | None = None
    reinforcement: ReinforcementMethod | None = None

    @model_validator(mode="after")
    def only_its_own_section(self) -> Method:
        for name in ("supervised", "dpo", "reinforcement"):
            if name != self.type and getattr(self, name) is not None:
                raise ValueError(f"{name}: has no use with type {self.type!r}; leave it out")
        if self.type == "reinforcement" and self.reinforcement is None:
            raise ValueError("reinforcement: is required; add it with a grader")
        return self


class Extension(Section):
    """This service's own settings. Each section is a part of a job posted to /v1/jobs."""

    model: dict[str, Any] | None = None
    """For model `scratch`: the network's size."""
    stage: dict[str, Any] = Field(default_factory=dict)
    """Any setting of the stage; `type` chooses among `grpo` (the default of `reinforcement`), `ppo`,
    `dr_grpo`, `rloo` and `reinforce_pp`."""
    learner: dict[str, Any] = Field(default_factory=dict)
    """DeepSpeed settings."""
    resources: dict[str, Any] = Field(default_factory=dict)
    """Processes and what they reserve."""
    checkpoint: dict[str, Any] = Field(default_factory=dict)
    """When to save."""
    recovery: dict[str, Any] = Field(default_factory=dict)
    """How much failure to survive."""


EXAMPLES: list[JsonValue] = [
    {
        "model": "local/small-chat",
        "training_file": "file-3f2a",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    },
    {
        "model": "local/small-chat",
        "training_file": "file-3f2a",
        "suffix": "sums",
        "seed": 7,
        "method": {
            "type": "reinforcement",
            "reinforcement": {
                "grader": {
                    "type": "string_check",
                    "name": "right",
                    "operation": "eq",
                    "input": "{{sample.output_text}}",
                    "reference": "{{item.answer}}",
                },
                "hyperparameters": {"batch_size": 8, "n_epochs": 1},
            },
        },
        "rlhf": {"stage": {"type": "ppo"}, "resources": {"learner": {"num_workers": 2}}},
    },
]


class CreateJob(Section):
    """The body of `fine_tuning.jobs.create`."""

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

    model: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """A finished model, a base model that the operator named, or `scratch`."""
    training_file: FileId
    """An uploaded file."""
    validation_file: FileId | None = None
    """Another one, for evaluation only."""
    suffix: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Becomes a part of the model's name."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """0 when absent."""
    metadata: Annotated[dict[LabelKey, LabelValue], Field(max_length=16)] | None = None
    """The job's labels."""
    method: Method | None = None
    """`supervised` when absent."""
    hyperparameters: Supervised | None = None
    """The older place of the hyperparameters of `supervised`."""
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None
    """None is served."""
    rlhf: Extension = Extension()
    """This service's own settings."""

    @model_validator(mode="after")
    def one_place_for_hyperparameters(self) -> CreateJob:
        if self.hyperparameters is not None and self.method is not None:
            raise ValueError("hyperparameters: are given twice; keep those inside `method`")
        return self

    @property
    def how(self) -> Method:
        """The method, whichever way it was said."""
        if self.method is not None:
            return self.method
        hyperparameters = self.hyperparameters or Supervised()
        supervised = SupervisedMethod(hyperparameters=hyperparameters)
        return Method(type="supervised", supervised=supervised)
