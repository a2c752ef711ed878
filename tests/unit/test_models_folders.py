"""Networks from scratch, to a folder, and back; folders that are not what they should be."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlhf_service.errors import ModelError, StorageError
from rlhf_service.models.build import build_scratch
from rlhf_service.models.digest import digests
from rlhf_service.models.export import ModelCard, export_model
from rlhf_service.models.heads import RewardModel, ValueModel
from rlhf_service.models.load import DROPOUTS, load_causal_lm
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.spec.model import ScratchModel

CARD = ModelCard(
    job="job-1",
    name="tiny",
    stage="sft",
    stages=("sft (sft, 4 steps)", "ppo (ppo, 2 steps)"),
    seed=3,
    figures={"validation_loss": 1.25},
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a good film", "a bad film"] * 4, 300)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def spec(request):
    return ScratchModel(
        architecture=request.param,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        context_length=32,
        vocab_size=300,
    )


@pytest.fixture(scope="module")
def model(spec, tokenizer):
    return build_scratch(spec, tokenizer, 0)


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    export_model(tmp_path / "model", model, model.state_dict(), tokenizer, CARD)
    return tmp_path / "model"


def test_the_seed_decides_the_weights_and_nothing_else_is_drawn(spec, tokenizer, model):
    before = torch.get_rng_state()
    again, other = (build_scratch(spec, tokenizer, seed) for seed in (0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert digests(again.state_dict()) == digests(model.state_dict())
    assert digests(other.state_dict()) != digests(model.state_dict())


def test_a_scratch_network_is_tied_without_dropout_and_ends_with_the_tokenizers_eos(
    spec, tokenizer, model
):
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert not any(getattr(model.config, name, 0.0) for name in DROPOUTS)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.max_position_embeddings == spec.context_length
    ids = torch.tensor([[3, 4, 5, 6]])
    model.train()
    assert torch.equal(model(ids).logits, model(ids).logits)


def test_an_export_loads_anywhere_with_the_same_weights(folder, model, tokenizer):
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert digests(plain.state_dict()) == digests(model.state_dict())
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == tokenizer.get_vocab()
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md"} <= {
        path.name for path in folder.iterdir()
    }
    card = (folder / "README.md").read_text()
    for said in ("`job-1`", "# tiny", "seed 3", "2. ppo (ppo, 2 steps)", "| 1.25 |", "torch 2"):
        assert said in card


def test_weights_come_from_the_state_not_from_the_module(model, tokenizer, tmp_path):
    """Under ZeRO-3 the module's own parameters are empty shards."""
    with torch.device("meta"):
        shell = type(model)(model.config)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_model(tmp_path / "model", shell, state, tokenizer, CARD)
    loaded = load_causal_lm(tmp_path / "model", torch.float32)
    assert digests(loaded.state_dict()) == digests(model.state_dict())


def test_an_export_replaces_the_folder_whole(folder, model, tokenizer):
    (folder / "stale.safetensors").write_bytes(b"old")
    export_model(folder, model, model.state_dict(), tokenizer, CARD)
    assert not (folder / "stale.safetensors").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_an_export_that_fails_leaves_the_old_folder(folder, model, tokenizer, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tokenizer), "save_pretrained", full)
    with pytest.raises(StorageError, match=r"No space left on device.*free space"):
        export_model(folder, model, model.state_dict(), tokenizer, CARD)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folders_dropout_is_set_to_zero(folder, model):
    edit_config(folder, attention_dropout=0.5, attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    loaded = load_causal_lm(folder, torch.float32).train()
    ids = torch.tensor([[3, 4, 5, 6]])
    assert torch.equal(loaded(ids).logits, loaded(ids).logits)
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def no_config(folder):
    (folder / "config.json").unlink()


def other_shape(folder):
    edit_config(folder, vocab_size=400)


def more_layers(folder):
    edit_config(folder, num_hidden_layers=3, n_layer=3)


def other_architecture(folder):
    edit_config(folder, model_type="bert", architectures=None)


def not_json(folder):
    (folder / "config.json").write_text("{")


def cut_short(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])


def pickled(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


BREAKS = [
    (no_config, "no config.json"),
    (not_json, "config.json cannot be used"),
    (other_shape, "weight shapes differ"),
    (more_layers, "weights are missing, first"),
    (other_architecture, "weights are missing, first"),
    (cut_short, "whole safetensors weights"),
    (pickled, "no file named model.safetensors"),
]


@pytest.mark.parametrize(("harm", "says"), BREAKS)
@pytest.mark.parametrize("load", [lambda f: load_causal_lm(f, torch.float32), ValueModel.load])
def test_a_broken_folder_is_a_model_error_never_random_weights(folder, harm, says, load):
    harm(folder)
    with pytest.raises(ModelError, match=says):
        load(folder)


def test_nothing_of_a_folder_is_executed(folder, tmp_path):
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')")
    edit_config(folder, model_type="own", auto_map={"AutoConfig": "own.Config"})
    with pytest.raises(ModelError):
        load_causal_lm(folder, torch.float32)
    assert not ran.exists()


def test_a_reward_model_survives_its_folder(model, tokenizer, tmp_path):
    rewarder = RewardModel.of(model, seed=1)
    ids, mask = torch.tensor([[3, 4, 5], [6, 7, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    raw = rewarder(ids, mask)
    rewarder.export(tmp_path / "rm", rewarder.state_dict(), tokenizer, 0.75, CARD)
    loaded = RewardModel.load(tmp_path / "rm")
    torch.testing.assert_close(loaded(ids, mask), raw + 0.75, rtol=0, atol=1e-6)
    standard = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    assert standard.config.num_labels == 1
    one = standard(ids[:1]).logits[:, 0]  # no padding: the standard pooling reads the same token
    torch.testing.assert_close(one, raw[:1], rtol=0, atol=1e-6)


def test_policies_and_reward_models_are_not_taken_for_each_other(
    folder, model, tokenizer, tmp_path
):
    with pytest.raises(ModelError, match=r"is no reward model.*folder that a reward stage left"):
        RewardModel.load(folder)
    rewarder = RewardModel.of(model, seed=1)
    rewarder.export(tmp_path / "rm", rewarder.state_dict(), tokenizer, 0.0, CARD)
    with pytest.raises(ModelError, match=r"generates no text; give a causal LM"):
        load_causal_lm(tmp_path / "rm", torch.float32)
    trunk = ValueModel.load(tmp_path / "rm").trunk  # a critic may start from either
    assert digests(trunk.state_dict()) == digests(model.base_model.state_dict())


def test_a_headless_reward_folder_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    name = config["architectures"][0].replace("ForCausalLM", "").replace("LMHeadModel", "")
    edit_config(folder, architectures=[f"{name}ForSequenceClassification"], id2label={"0": "score"})
    with pytest.raises(ModelError, match=r"weights are missing, first score\.weight"):
        RewardModel.load(folder)
