"""A reward model scores a response as it scored the same text in training."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlhf_service.data.messages import Message
from rlhf_service.data.rows import PreferenceRow
from rlhf_service.data.tokens import collate_sequences, encode_preferences
from rlhf_service.errors import ModelError
from rlhf_service.events import StepCompleted
from rlhf_service.models.build import build_scratch
from rlhf_service.models.export import ModelCard, export_model
from rlhf_service.models.heads import RewardModel
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.records import FinishReason, Prompt, Rollout
from rlhf_service.reward.build import build_reward
from rlhf_service.spec import JobSpec
from rlhf_service.spec.learner import OptimizerSpec
from rlhf_service.spec.model import FolderModel, ScratchModel, StageModel
from rlhf_service.spec.reward import RewardModelReward
from rlhf_service.stages.pipeline import run_pipeline
from rlhf_service.stages.preference import PreferenceTrainer
from rlhf_service.testing import PlainEngine
from tests.small import write_encoder

CONTEXT = 24
CARD = ModelCard(job="j", name="n", stage="reward", stages=("reward",), seed=0)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a good film", "a bad film", "dull and cold"] * 4, 300)


@pytest.fixture(scope="module")
def causal(tokenizer):
    spec = ScratchModel(
        hidden_size=16, num_layers=1, num_heads=2, context_length=CONTEXT, vocab_size=300
    )
    return build_scratch(spec, tokenizer, 0)


@pytest.fixture(scope="module")
def folder(causal, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward") / "model"
    rewarder = RewardModel.of(causal, seed=1)
    rewarder.export(folder, rewarder.state_dict(), tokenizer, 0.5, CARD)
    return folder


def rollout(prompt, text):
    """With ids of another tokenizer: only the text counts."""
    asked = Prompt(position=0, sample=0, row=0, text=prompt, token_ids=(9_999,))
    return Rollout(
        prompt=asked,
        token_ids=(8_888,),
        logprobs=(0.0,),
        text=text,
        finish_reason=FinishReason.EOS,
        policy_version=1,
    )


def scores(folder, rollouts):
    spec = RewardModelReward(model=FolderModel(path=str(folder)))
    return [outcome.value for outcome in build_reward(spec, {}).score(rollouts)]


def test_scores_are_those_of_training_in_any_order_and_batch(folder, tokenizer):
    words = ["a good film", "dull", "cold and dull and bad", " ", "a bad film and a good film"]
    answers = [(words[i % 5], " " + words[i // 5 % 5] * (1 + i % 2)) for i in range(70)]
    network = RewardModel.load(folder).eval()
    rows = [PreferenceRow(prompt, text, "x") for prompt, text in answers]
    with torch.no_grad():
        wanted = [
            float(network(batch.input_ids, batch.attention_mask)[0])
            for pair in encode_preferences(rows, tokenizer, CONTEXT)
            for batch in [collate_sequences([pair.chosen])]
        ]
    assert len(set(wanted)) > 20
    found = scores(folder, [rollout(*answer) for answer in answers])
    assert found == pytest.approx(wanted, abs=1e-5)
    backwards = scores(folder, [rollout(*answer) for answer in reversed(answers)])
    assert backwards[::-1] == pytest.approx(wanted, abs=1e-5)


def test_what_does_not_fit_the_context_is_cut_not_an_error(folder):
    long = rollout("a", " good film" * 50)
    [score] = scores(folder, [long])
    assert [score] == scores(folder, [rollout("a", " good film" * 60)])


def test_a_stages_model_is_found_by_its_name(folder):
    spec = RewardModelReward(name="taste", model=StageModel(stage="reward"))
    [outcome] = build_reward(spec, {"reward": folder}).score([rollout("a", " film")])
    assert outcome.components == {"taste": outcome.value}
    assert [outcome.value] == scores(folder, [rollout("a", " film")])


def test_a_causal_lm_gives_no_random_score(causal, tokenizer, tmp_path):
    export_model(tmp_path / "policy", causal, causal.state_dict(), tokenizer, CARD)
    with pytest.raises(ModelError, match="is no reward model"):
        scores(tmp_path / "policy", [rollout("a", " film")])


class TwoScores(torch.nn.Module):
    """Gives every chosen answer one score and every rejected answer another."""

    def __init__(self):
        super().__init__()
        self.scores = torch.nn.Parameter(torch.tensor([2.0, 1.0]))

    def of(self, pairs):
        return self.scores[0].expand(len(pairs)), self.scores[1].expand(len(pairs))


@pytest.mark.parametrize("coef", [0.0, 0.5])
def test_the_centring_term_draws_the_sum_of_a_pair_to_zero(
    pipeline_spec, make_context, tmp_path, coef
):
    stage = pipeline_spec.stages[1].model_copy(update={"center_coef": coef})
    pairs = encode_preferences(
        [PreferenceRow("", "good", "bad")] * 8, train_tokenizer(["good bad"], 300), 8
    )
    network = TwoScores()
    engine = PlainEngine(network, OptimizerSpec(learning_rate=0.05))
    trainer = PreferenceTrainer(
        make_context(pipeline_spec, tmp_path), stage, engine, network.of, pairs, [], 0.0, coef
    )
    for step in range(1, 401):
        report = trainer.step(1 + step % 4)
    chosen, rejected = network.scores.tolist()
    assert chosen - rejected > 0.9 and report.accuracy == 1
    # Without the term the gradient of a pair is antisymmetric: the sum stays what it was.
    assert chosen + rejected == pytest.approx(0.0 if coef else 3.0, abs=0.05)


WORDS = ["a", "good", "bad", "film", "dull", "cold", "user", ":"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    write_encoder(folder, WORDS, CONTEXT)
    return folder


@pytest.mark.parametrize("adapter", [None, {"rank": 2}])
def test_an_encoder_becomes_a_reward_model(encoder, corpus, make_context, tmp_path, adapter):
    stage = {
        "type": "reward",
        "data": {"path": corpus["pairs"]},
        "model": {"type": "folder", "path": str(encoder)},
        "steps": 20,
        "batch_size": 8,
        "max_length": CONTEXT,
        "optimizer": {"learning_rate": 2e-2},
        "adapter": adapter,
    }
    spec = JobSpec.model_validate({"model": {"type": "scratch"}, "stages": [stage]})
    context = make_context(spec, tmp_path / "job")
    run_pipeline(context)
    steps = [e.report for e in context.sink.events if isinstance(e, StepCompleted)]
    assert steps[-1].validation_accuracy == 1.0

    folder = context.folder.stage_model("reward")
    standard = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        read = tokenizer("a good", " film", return_tensors="pt")
        del read["token_type_ids"]
        wanted = float(standard(**read).logits) + RewardModel.load(folder).bias
    [found] = scores(folder, [rollout("a good", " film")])
    assert found == pytest.approx(wanted, abs=1e-5)


def test_a_conversation_is_scored_as_it_was_learnt(folder, tokenizer, tmp_path):
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    try:
        tokenizer.save_pretrained(shutil.copytree(folder, tmp_path / "m"))
        turns = (Message("user", "a film"),)
        row = PreferenceRow("", "good", "bad", messages=turns)
        [pair] = encode_preferences([row], tokenizer, CONTEXT)
    finally:
        tokenizer.chat_template = None
    batch = collate_sequences([pair.chosen])
    with torch.no_grad():
        wanted = float(RewardModel.load(folder).eval()(batch.input_ids, batch.attention_mask)[0])
    asked = rollout("user: a film", "good")
    item = {"messages": [{"role": "user", "content": "a film"}]}
    asked = dataclasses.replace(asked, prompt=dataclasses.replace(asked.prompt, item=item))
    assert scores(tmp_path / "m", [asked]) == [pytest.approx(wanted, abs=1e-5)]
