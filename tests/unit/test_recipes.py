"""The recipes as jobs: data without leaks, specs that pass the submission checks."""

from __future__ import annotations

import functools
import json

import pytest

from rlhf_service.data.check import check_data
from rlhf_service.recipes.answers import Answered
from rlhf_service.recipes.catalogue import RECIPES
from rlhf_service.recipes.placed import on_one_gpu
from rlhf_service.recipes.question_answering import data as questions
from rlhf_service.recipes.summarisation import data as summaries
from rlhf_service.recipes.translation import data as translation
from rlhf_service.spec import JobSpec


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A recipe's job with seed 3; its data and models are made once for all tests."""
    return functools.cache(
        lambda name: RECIPES[name].build(tmp_path_factory.mktemp(name, numbered=False), 3)
    )


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_valid_job_that_passes_the_submission_check(name, build):
    spec = build(name)
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.seed == 3 and spec.stages[-1].evaluation is not None
    check_data(spec)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_on_one_gpu_is_the_same_job_and_asks_for_no_more_than_one(name, build):
    spec = build(name)
    placed = on_one_gpu(spec)
    assert JobSpec.model_validate_json(placed.model_dump_json()) == placed
    assert placed.resources.on_gpu and not spec.resources.on_gpu
    learner, rollout, reward = (
        placed.resources.learner.num_workers * placed.resources.learner.gpus_per_worker,
        placed.resources.rollout.num_actors * placed.resources.rollout.gpus_per_actor,
        placed.resources.reward.num_actors * placed.resources.reward.gpus_per_actor,
    )
    assert min(learner, rollout, reward) > 0 and learner + rollout + reward <= 1
    check_data(placed)
    assert placed.stages == spec.stages


def test_no_english_sentence_is_trained_and_held_out(tmp_path):
    made = translation.prepare(tmp_path)
    training = {row["prompt"] for row in rows(made.sft)}
    held_out = rows(made.prompts_held_out)
    assert len(held_out) == translation.HELD_OUT
    assert not training & {row["prompt"] for row in held_out}
    assert {row["prompt"] for row in rows(made.prompts)} <= training
    assert len({row["prompt"] for row in rows(made.prompts)}) == translation.RL_PROMPTS


def test_preparing_twice_gives_the_same_files(tmp_path):
    for folder in ("one", "two"):
        translation.prepare(tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_articles_are_cut_and_split(tmp_path):
    source = tmp_path / "articles.jsonl"
    words = " ".join(f"w{i}" for i in range(90))
    articles = [{"document": f"{n} {words}", "summary": f"About {n}."} for n in range(3)]
    source.write_text("".join(json.dumps(a) + "\n" for a in [*articles, articles[0]]))
    found = summaries.read_articles(source)
    assert [a.answer for a in found] == ["About 0.", "About 1.", "About 2."], "each once"
    assert all(
        len(a.prompt.removesuffix("\nIn short:").split()) == summaries.LEAD_WORDS for a in found
    )


def test_long_problems_are_left_out(tmp_path):
    source = tmp_path / "problems.jsonl"
    short = {"passage": "Ann has 2 pens.", "question": "How many pens?", "answer": "2 pens"}
    long = short | {"passage": "word " * 60}
    source.write_text("".join(json.dumps(p) + "\n" for p in (short, long, short)))
    assert questions.read_problems(source) == [
        Answered("Ann has 2 pens. How many pens? Answer:", "2 pens")
    ]
