"""Fine-tuning jobs that cannot be, each refused by its parameter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.api.served import CHAT, Served
from tests.api.tuning import GRADER, create, running, upload


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for every request that changes nothing."""
    with running(tmp_path_factory.mktemp("refusing"), "") as made:
        yield made


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": "gpt-9", "extra_body": {}}, "model"),
        ({"model": "local/../models/tiny/..", "extra_body": {}}, "model"),
        ({"model": "local", "extra_body": {}}, "model"),
        ({"training_file": "file-none"}, "training_file"),
        ({"validation_file": "file-none"}, "validation_file"),
        ({"model": "local/tiny"}, "rlhf.model"),
        ({"extra_body": {"rlhf": {"model": {"hidden_sise": 8}}}}, "rlhf.model.hidden_sise"),
        ({"extra_body": {"rlhf": {"stage": {"max_length": 1}}}}, "rlhf.stage.max_length"),
        ({"extra_body": {"nothing": 1}}, "nothing"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 0}}}},
            "method.supervised.hyperparameters.n_epochs",
        ),
        (
            {
                "method": {"type": "reinforcement", "reinforcement": {"grader": {"type": "no"}}},
                "training_file": "prompts",
            },
            "method.reinforcement.grader",
        ),
        # The file's rows are conversations: nothing tells a better answer from a worse one.
        ({"method": {"type": "dpo"}}, "training_file"),
        (
            {
                "method": {"type": "reinforcement", "reinforcement": {"grader": GRADER}},
                "training_file": "prompts",
            },
            "method.reinforcement.grader.reference",
        ),
        (
            {"extra_body": {"rlhf": {"resources": {"learner": {"num_workers": 64}}}}},
            "rlhf.resources.learner.num_workers",
        ),
    ],
)
def test_what_cannot_be_done_names_its_parameter(
    refusing: Served, changes: dict[str, Any], param: str
) -> None:
    client = refusing.openai()
    if changes.get("training_file") == "prompts":
        file_id = upload(client, {"messages": CHAT[:1], "question": "2+2="})
        changes = {**changes, "training_file": file_id}
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, **changes)
    assert caught.value.param == param, caught.value.message
    assert caught.value.message and "stages[" not in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert list(client.fine_tuning.jobs.list()) == []
