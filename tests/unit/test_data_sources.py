"""The same rows from every format, and errors that name the row."""

from __future__ import annotations

import csv
import json

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlhf_service.data.rows import read_completions, read_preferences, read_prompts
from rlhf_service.errors import DataError
from rlhf_service.spec import DataSpec

ROWS = [
    {"prompt": "Who?", "chosen": 'Ann, "the" one', "rejected": "Bob\nor so", "margin": 1.5},
    {"prompt": "", "chosen": "ñandú 🐦", "rejected": " x", "margin": -2.0},
]


def write(rows, folder, kind):
    """The rows in one format; where they are."""
    if kind == "jsonl":
        path = folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind in ("csv", "tsv"):
        path = folder / f"rows.{kind}"
        with path.open("w", encoding="utf-8", newline="") as out:
            table = csv.DictWriter(out, rows[0], delimiter="\t" if kind == "tsv" else ",")
            table.writeheader()
            table.writerows(rows)
    elif kind == "parquet":
        path = folder / "rows.parquet"
        Dataset.from_list(rows).to_parquet(path)
    elif kind == "folder":
        path = folder / "parts"
        path.mkdir()
        for number, row in enumerate(rows):
            Dataset.from_list([row]).to_parquet(path / f"{number:03}.parquet")
    else:
        path = folder / "saved"
        Dataset.from_list(rows).save_to_disk(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "folder", "saved"])
def test_every_format_gives_the_rows_of_json_lines(tmp_path, kind):
    plain = read_preferences(DataSpec(path=str(write(ROWS, tmp_path, "jsonl"))), "data")
    path = write(ROWS, tmp_path, kind)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    assert read_preferences(DataSpec(path=str(path)), "data") == plain
    assert read_preferences(DataSpec(path=str(path), limit=1), "data") == plain[:1]
    assert sorted(p.name for p in tmp_path.rglob("*")) == before, "nothing is left beside the data"


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"prompt": cells, "completion": cells}), min_size=1))
def test_any_text_survives_csv(tmp_path, rows):
    paths = [write(rows, tmp_path, kind) for kind in ("jsonl", "csv")]
    one, two = (read_completions(DataSpec(path=str(path)), "data") for path in paths)
    assert one == two


def test_columns_are_renamed_and_the_whole_row_stays(tmp_path):
    path = write([{"question": "Who?", "gold": "Ann"}], tmp_path, "jsonl")
    spec = DataSpec(path=str(path), columns={"prompt": "question", "reference": "gold"})
    [row] = read_prompts(spec, "data")
    assert row.prompt == "Who?"
    assert row.item == {"question": "Who?", "gold": "Ann", "prompt": "Who?", "reference": "Ann"}
    with pytest.raises(
        DataError, match=r"line 1: no column 'query'; it has \['gold', 'question'\]"
    ):
        read_prompts(DataSpec(path=str(path), columns={"prompt": "query"}), "data")


def test_a_format_can_be_set_against_the_suffix(tmp_path):
    path = write(ROWS, tmp_path, "csv").rename(tmp_path / "rows.txt")
    assert len(read_preferences(DataSpec(path=str(path), format="csv"), "data")) == 2
    with pytest.raises(DataError, match="line 1, 2, 3, 4: not JSON"):
        read_preferences(DataSpec(path=str(path)), "data")


def test_the_first_ten_bad_rows_are_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    bad = ["[1]", "{", '{"prompt": 3}', '{"prompt": ""}', '{"text": "x"}', *["null"] * 20]
    path.write_text('{"prompt": "good"}\n\n' + "\n".join(bad))
    with pytest.raises(DataError) as refused:
        read_prompts(DataSpec(path=str(path)), "stages[0].prompts.path")
    said = refused.value.message
    assert "line 3: a row must be a JSON object, not list" in said
    assert "line 5: column 'prompt' must be a string, not int" in said
    assert "line 8, 9, 10, 11, 12: a row must be a JSON object, not NoneType" in said
    assert "13" not in said.removeprefix(str(path))
    assert len(refused.value.rows) == 10


def test_csv_rows_of_the_wrong_width_and_margins_that_are_none(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("chosen,rejected,margin\na,b,1\na,b\na,b,2,3\na,b,much\n")
    with pytest.raises(DataError) as refused:
        read_preferences(DataSpec(path=str(path)), "data")
    said = refused.value.message
    assert "line 3: 2 cells under 3 columns" in said and "line 4: 4 cells" in said
    assert "line 5: column 'margin' is no number: 'much'" in said


@pytest.mark.parametrize(
    ("make", "spec", "says"),
    [
        (lambda p: None, {}, "no file .*give the path of a data file"),
        (lambda p: p.write_bytes(b"PAR1 no"), {"format": "parquet"}, "is not Parquet that can be"),
        (lambda p: p.write_bytes(b"\xff\xfe"), {"format": "csv"}, "is not UTF-8 text"),
        (lambda p: p.write_text("{}"), {"split": "train"}, "is a file and has no split"),
        (lambda p: p.write_text("{}"), {"format": "dataset"}, "is a file; format `dataset`"),
        (lambda p: p.mkdir(), {}, "is no dataset folder"),
        (lambda p: p.mkdir(), {"format": "csv"}, "is a folder, not a csv file"),
        (lambda p: p.mkdir(), {"format": "parquet"}, "has no .parquet file"),
        (lambda p: p.write_text(""), {}, "has no rows; add at least one"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_field(tmp_path, make, spec, says):
    path = tmp_path / "data"
    make(path)
    with pytest.raises(DataError, match=says) as refused:
        read_prompts(DataSpec(path=str(path), **spec), "stages[0].prompts.path")
    assert refused.value.field == "stages[0].prompts.path"


def test_a_split_is_chosen_by_name(tmp_path):
    parts = {name: Dataset.from_list([{"prompt": name}]) for name in ("train", "test")}
    DatasetDict(parts).save_to_disk(tmp_path)
    [row] = read_prompts(DataSpec(path=str(tmp_path), split="test"), "data")
    assert row.prompt == "test"
    with pytest.raises(DataError, match="has splits test, train; set `split` to one of them"):
        read_prompts(DataSpec(path=str(tmp_path)), "data")
    with pytest.raises(DataError, match="has no split 'dev'; it has test, train"):
        read_prompts(DataSpec(path=str(tmp_path), split="dev"), "data")
