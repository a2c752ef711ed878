"""Cosine similarity of sentence embeddings."""

from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import BertModel, BertTokenizer

from rlhf_service.errors import ModelError
from rlhf_service.models.check import check_model_folders
from rlhf_service.reward.build import build_reward
from rlhf_service.spec import JobSpec
from rlhf_service.spec.reward import RewardSpec
from tests.small import write_encoder
from tests.unit.test_graders import rollout

WORDS = ["a", "good", "bad", "film", "dull", "cold"]
ADAPTER = TypeAdapter(RewardSpec)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    write_encoder(folder, WORDS, 12, hidden_dropout_prob=0.5)
    return folder


def grader(folder, **more) -> dict:
    encoder = {"type": "folder", "path": str(folder)}
    return {
        "type": "text_similarity",
        "evaluation_metric": "cosine",
        "encoder": encoder,
        **more,
    }


def test_cosine_is_that_of_mean_pooled_states_in_any_batch(folder):
    texts = ["a good film", "a bad film", "dull", "", "film film film cold " * 9]
    reward = build_reward(ADAPTER.validate_python(grader(folder, pass_threshold=0.5)), {})
    pairs = [rollout(one, reference=two) for one in texts for two in texts]
    together = reward.score(pairs)
    network, tokenizer = BertModel.from_pretrained(folder).eval(), BertTokenizer
    tokenizer = tokenizer.from_pretrained(folder)

    def embed(text: str) -> torch.Tensor:
        read = tokenizer(text, return_tensors="pt", truncation=True, max_length=12)
        with torch.no_grad():
            return network(read["input_ids"]).last_hidden_state.mean(dim=1)[0]

    for pair, found in zip(pairs, together, strict=True):
        wanted = torch.cosine_similarity(
            embed(pair.text), embed(str(pair.prompt.item["reference"])), dim=0
        )
        assert found.value == pytest.approx(float(wanted), abs=1e-5)
        assert found.components["text_similarity_passed"] == (found.value >= 0.5)
        assert reward.score([pair])[0].value == pytest.approx(found.value, abs=1e-5)
    same = [
        f.value
        for p, f in zip(pairs, together, strict=True)
        if p.text == p.prompt.item["reference"]
    ]
    assert same == pytest.approx([1.0] * len(texts), abs=1e-5)


def test_an_encoder_is_asked_for_and_checked(folder, tmp_path, corpus):
    with pytest.raises(ValidationError, match="cosine needs `encoder`"):
        ADAPTER.validate_python({"type": "text_similarity", "evaluation_metric": "cosine"})
    with pytest.raises(ValidationError, match="have no use for one"):
        ADAPTER.validate_python(grader(folder) | {"evaluation_metric": "bleu"})
    stage = {"type": "grpo", "prompts": {"path": corpus["prompts"]}, "samples_per_prompt": 2}
    spec = {"model": {"type": "scratch"}, "stages": [stage | {"reward": grader(tmp_path)}]}
    with pytest.raises(ModelError) as refused:
        check_model_folders(JobSpec.model_validate(spec))
    assert refused.value.field == "stages[0].reward.encoder.path"
