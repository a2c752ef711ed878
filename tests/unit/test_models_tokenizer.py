"""Tokenizers trained here or loaded."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_service.errors import ModelError
from rlhf_service.models.tokenizer import BOS, EOS, PAD, load_tokenizer, train_tokenizer

TEXTS = ["a good film", "a bad film", "dull and cold"] * 4


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 300)


def test_padding_start_and_end_are_three_tokens(tokenizer):
    special = {tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}
    assert len(special) == 3
    assert tokenizer.convert_ids_to_tokens(sorted(special)) == [PAD, BOS, EOS]
    assert len(tokenizer) <= 300
    assert tokenizer.encode("a film") == tokenizer.encode("a film", add_special_tokens=False)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_comes_back(tokenizer, text):
    if any(special in text for special in (PAD, BOS, EOS)):
        return
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_same_texts_give_the_same_tokenizer_through_a_folder(tokenizer, tmp_path):
    assert train_tokenizer(TEXTS, 300).get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.encode("a dull film") == tokenizer.encode("a dull film")
    assert loaded.special_tokens_map == tokenizer.special_tokens_map


def change(folder, **settings):
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def test_a_tokenizer_without_padding_gets_some(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    change(tmp_path, pad_token=None)
    assert load_tokenizer(tmp_path).pad_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("content", [None, "{", "{}", "[]", '{"version": "1.0", "model": {}}'])
def test_a_broken_tokenizer_is_a_model_error(tokenizer, tmp_path, content):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"(?s)no usable tokenizer .*add tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_missing_folder_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="no usable tokenizer"):
        load_tokenizer(tmp_path / "absent")


def test_a_tokenizer_without_an_end_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    change(tmp_path, eos_token=None)
    with pytest.raises(ModelError, match="no end token; set eos_token"):
        load_tokenizer(tmp_path)
