"""Jobs on conversations: a tokenizer that is trained for them, and models that cannot write them."""

from __future__ import annotations

import json

import pytest
from transformers import AutoTokenizer

from rlhf_service.data.chat import answer_ids, learnt_spans, question_ids
from rlhf_service.data.check import check_data
from rlhf_service.data.messages import Message
from rlhf_service.data.turns import converses
from rlhf_service.errors import DataError
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.spec import JobSpec
from rlhf_service.stages.pipeline import run_pipeline
from tests.small import pipeline_of, stage_context, write_corpus, write_rows

ASKED = [
    {"role": "system", "content": "be short"},
    {"role": "user", "content": "how was the film ?"},
]


def in_turns(tmp_path) -> JobSpec:
    """The small pipeline on conversations."""
    write_corpus(tmp_path)
    answers = ("good and warm", "dull and cold")
    said = [{"messages": [*ASKED, {"role": "assistant", "content": a}]} for a in answers]
    pairs = [
        {
            "prompt": ASKED,
            "chosen": [{"role": "assistant", "content": answers[0]}],
            "rejected": [{"role": "assistant", "content": answers[1]}],
        }
    ]
    return pipeline_of(
        {
            "completions": write_rows(tmp_path / "said.jsonl", said * 8),
            "pairs": write_rows(tmp_path / "preferred.jsonl", pairs * 16),
            "prompts": write_rows(tmp_path / "asked.jsonl", [{"messages": ASKED}] * 8),
        }
    )


def changed(spec: JobSpec, **changes: object) -> JobSpec:
    return JobSpec.model_validate(spec.model_dump(mode="json") | changes)


def longer(spec: JobSpec) -> JobSpec:
    stages = [stage.model_dump(mode="json") for stage in spec.stages]
    stages[-1]["max_prompt_length"] = 48
    stages[0]["max_length"] = stages[1]["max_length"] = 60
    return changed(spec, stages=stages)


def test_a_network_from_scratch_is_taken_through_a_pipeline_on_conversations(tmp_path):
    spec = longer(in_turns(tmp_path))
    check_data(spec)
    context = stage_context(spec, tmp_path / "job")
    run_pipeline(context)
    left = AutoTokenizer.from_pretrained(tmp_path / "job" / "model", local_files_only=True)
    text = left.apply_chat_template(ASKED, add_generation_prompt=True, tokenize=False)
    assert text == "<|system|>be short</s><|user|>how was the film ?</s><|assistant|>"
    ids = left.encode(text, add_special_tokens=False)
    assert left.convert_ids_to_tokens([ids[0], ids[-1]]) == ["<|system|>", "<|assistant|>"]


def test_its_chat_template_fits_what_is_learnt_to_what_is_asked():
    tokenizer = train_tokenizer(["how was the film ? good and warm"] * 4, 320, conversations=True)
    turns = tuple(Message(turn["role"], turn["content"]) for turn in ASKED)
    ids, mask = learnt_spans((*turns, Message("assistant", "good")), tokenizer)
    asked, answer = question_ids(turns, tokenizer), answer_ids(turns, "good", tokenizer)
    assert ids == [*asked, *answer]
    assert mask == [False] * len(asked) + [True] * len(answer)
    assert ids[-1] == tokenizer.eos_token_id


def test_plain_text_makes_no_chat_template(tmp_path):
    spec = pipeline_of(write_corpus(tmp_path))
    assert not converses(spec)
    assert train_tokenizer(["a good film"], 300).chat_template is None


@pytest.mark.parametrize("renamed", [False, True])
def test_conversations_are_seen_in_any_stage_and_column(tmp_path, renamed):
    spec = pipeline_of(write_corpus(tmp_path))
    column = "dialogue" if renamed else "messages"
    path = write_rows(tmp_path / "asked.jsonl", [{column: ASKED}] * 8)
    stages = [stage.model_dump(mode="json") for stage in spec.stages]
    stages[-1]["prompts"] = {"path": path} | (
        {"columns": {"messages": "dialogue"}} if renamed else {}
    )
    assert converses(changed(spec, stages=stages))


@pytest.mark.parametrize("own_tokenizer", [False, True])
def test_a_folder_without_a_chat_template_is_refused_at_submission(tmp_path, own_tokenizer):
    spec, folder = in_turns(tmp_path), tmp_path / "plain"
    train_tokenizer(["a good film"], 300).save_pretrained(folder)
    model = {"type": "folder", "path": str(folder)}
    if own_tokenizer:
        model = spec.model.model_dump(mode="json") | {"tokenizer": str(folder)}
    with pytest.raises(DataError, match=r"no chat template.*plain text") as refused:
        check_data(changed(spec, model=model))
    assert refused.value.field == "stages[0].data.path"
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "x"}))
    check_data(changed(spec, model=model))
