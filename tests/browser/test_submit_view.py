"""A new job on the page: faults by field and line, recipes, one job for one text."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def chosen(page):
    """The text that is selected in the editor."""
    return await page.locator("textarea").evaluate(
        "box => box.value.slice(box.selectionStart, box.selectionEnd)"
    )


async def test_faults_are_told_by_field_and_lead_to_their_lines(site, window):
    spec = site.world.spec()
    spec["stages"][0].update(steps=-1, batchsize=2)
    page = await window.go("submit")
    editor = page.get_by_label("The job as YAML or JSON")
    await editor.fill(yaml.safe_dump(spec, sort_keys=False))
    await page.get_by_role("button", name="Submit").click()
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("2 things to mend")
    fault = alert.get_by_role("listitem").filter(has_text="stages[0].batchsize")
    await expect(fault).to_contain_text("did you mean 'batch_size'")
    await fault.get_by_role("button", name=re.compile("Line")).click()
    await expect(editor).to_be_focused()
    assert (await chosen(page)).strip() == "batchsize: 2"
    await expect(editor).to_have_attribute("aria-invalid", "true")
    await editor.fill("name: [")
    await page.get_by_role("button", name="Check and plan").click()
    await expect(alert).to_contain_text("this is not YAML")
    assert (await site.world.get("/v1/jobs"))["data"] == []


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
async def test_a_text_is_checked_and_becomes_a_job(site, window, write):
    page = await window.go("submit")
    await page.get_by_label("The job as YAML or JSON").fill(write(site.world.spec(name="mine")))
    await page.get_by_role("button", name="Check and plan").click()
    await expect(page.get_by_text("Nothing wrong with mine: sft (10 steps).")).to_be_visible()
    await page.get_by_role("button", name="Submit").click()
    await expect(page.get_by_role("heading", name="mine")).to_be_visible()
    assert [job["name"] for job in (await site.world.get("/v1/jobs"))["data"]] == ["mine"]


async def test_a_recipe_is_prepared_and_submitted(site, window):
    page = await window.go("submit")
    await page.get_by_label("Seed").fill("3")
    await page.get_by_role("button", name=re.compile("^calculator")).click()
    editor = page.get_by_label("The job as YAML or JSON")
    await expect(editor).to_have_value(re.compile("^# multiplication"), timeout=60_000)
    assert yaml.safe_load(await editor.input_value())["seed"] == 3
    await page.get_by_role("button", name="Submit").click()
    await expect(page.get_by_role("heading", name="calculator")).to_be_visible()
