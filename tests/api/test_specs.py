"""A job as text: read, checked, every fault with its field and line."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from api.service.drafts import Unreadable, read
from tests.api.world import JSON, World

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def check(world: World, text: str) -> JSON:
    answer = await world.client.post("/v1/specs/check", json={"text": text})
    assert answer.status_code == 200, answer.text
    found: JSON = answer.json()
    return found


@sqlite
@pytest.mark.asyncio
@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
async def test_both_notations_say_the_same_job(world: World, write: Any) -> None:
    found = await check(world, write(world.spec()))
    assert found["faults"] == [] and found["spec"]["name"] == "sums"
    assert (await world.get("/v1/jobs"))["data"] == []  # nothing was submitted


@sqlite
@pytest.mark.asyncio
async def test_every_fault_comes_with_field_and_line(world: World) -> None:
    spec = world.spec()
    spec["stages"][0].update(steps=-1, batchsize=2)
    text = yaml.safe_dump(spec, sort_keys=False)
    faults = {f["field"]: f for f in (await check(world, text))["faults"]}
    # That the stages are too few only follows from the stage being wrong.
    assert faults.keys() == {"stages[0].steps", "stages[0].batchsize"}
    lines = text.splitlines()
    assert "did you mean 'batch_size'" in faults["stages[0].batchsize"]["message"]
    for field, key in (("stages[0].steps", "steps: -1"), ("stages[0].batchsize", "batchsize: 2")):
        assert lines[faults[field]["line"] - 1].strip() == key


@sqlite
@pytest.mark.asyncio
async def test_a_missing_file_is_told_where_it_is_named(world: World) -> None:
    spec = world.spec()
    spec["stages"][0]["data"]["path"] = str(world.settings.storage / "data" / "none.jsonl")
    text = yaml.safe_dump(spec, sort_keys=False)
    (fault,) = (await check(world, text))["faults"]
    assert fault["field"] == "stages[0].data.path"
    assert "none.jsonl" in text.splitlines()[fault["line"] - 1]


@sqlite
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("name: a\nmodel: {type: scratch\n", 3, "not YAML"),
        ('{"name": "a",\n "stages": [}', 2, "not JSON"),
        ('{\t"name": "a",\n\t"stages": ]', 2, "not JSON"),
        ("just words", 1, "mapping"),
        ("", 1, "mapping"),
        ("a: &x [1]\nb: *x\n", 2, "aliases"),
        ("!!python/object/apply:os.system [ls]", None, "constructor"),
        ("[" * 5000, None, "nested"),
        ("at: 2020-13-45", None, "month"),
        ("9" * 5000, None, "cannot be read"),
        ('{"\\ud800": 1}', None, "cannot be read"),
    ],
)
async def test_an_unreadable_text_is_told_where(
    world: World, text: str, line: int | None, said: str
) -> None:
    (fault,) = (await check(world, text))["faults"]
    assert said in fault["message"]
    assert line is None or fault["line"] == line


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@effort(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=values)
def test_what_was_written_is_read(value: Any) -> None:
    assert read(yaml.safe_dump(value)).value == value
    assert read(json.dumps({"a": value})).value == {"a": value}


@effort(max_examples=150, deadline=None)
@given(text=st.text(alphabet="{}[]:-&*!?|>'\"#%@`, \n\tab1~\0", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except Unreadable as fault:
        assert str(fault)


@sqlite
@pytest.mark.asyncio
async def test_jobs_are_searched_by_name_and_id(world: World) -> None:
    first = await world.submit(name="Sums 100%")
    await world.submit(name="stories")
    assert [j["id"] for j in (await world.get("/v1/jobs", search="SUMS"))["data"]] == [first["id"]]
    assert [j["id"] for j in (await world.get("/v1/jobs", search="0%"))["data"]] == [first["id"]]
    found = (await world.get("/v1/jobs", search=first["id"]))["data"]
    assert [job["id"] for job in found] == [first["id"]]
    assert (await world.get("/v1/jobs", search="%%"))["data"] == []
