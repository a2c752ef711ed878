"""A prompt to two models side by side, answered by real small networks."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.async_api import expect

from rlhf_service.models.build import build_scratch
from rlhf_service.models.tokenizer import train_tokenizer
from rlhf_service.spec.model import ScratchModel

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOADED = 120_000
"""Milliseconds in which two models surely are loaded and have answered."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = train_tokenizer(["a good film", "a bad film"], 300)
    spec = ScratchModel(
        hidden_size=16, num_layers=1, num_heads=2, context_length=64, vocab_size=300
    )
    build_scratch(spec, tokenizer, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


async def finished(world, tiny) -> str:
    """A job of two stages that succeeded, whose models can answer."""
    [first] = world.spec()["stages"]
    stages = [{**first, "name": "one"}, {**first, "name": "two"}]
    job_id, driver = await world.started(name="small-talk", stages=stages)
    folder = world.settings.folder(job_id)
    for target in (folder.stage_model("one"), folder.stage_model("two"), folder.model):
        shutil.copytree(tiny, target)
    world.launcher.succeed(driver.submission_id)
    await world.turn(2)
    return job_id


async def test_a_model_answers_beside_what_it_began_from(site, window, tiny):
    job_id = await finished(site.world, tiny)
    page = await window.go(job_id)
    await page.get_by_role("link", name="Try the model").click()
    left = page.get_by_role("combobox", name="Model")
    right = page.get_by_role("combobox", name="Compared with")
    await expect(left).to_have_value(job_id)
    await expect(right).to_have_value(f"{job_id}/one")
    # It has no chat template.
    await expect(page.get_by_role("radio", name="Continue text")).to_be_checked()
    await page.get_by_label("At most").fill("8")
    await page.get_by_label("Seed").fill("3")
    await page.get_by_label("Prompt").fill("a good")
    await page.get_by_label("Prompt").press("Enter")
    told = page.locator(".reply:not([aria-busy])").filter(has_text=re.compile("tokens, the first"))
    await expect(told).to_have_count(2, timeout=LOADED)
    answers = [await page.locator(".answer").nth(i).text_content() for i in (0, 1)]
    assert answers[0] and answers[0] == answers[1]  # the same weights and the same draw
    await page.get_by_role("button", name="Clear").click()
    await expect(page.locator(".reply")).to_have_count(0)
    await right.select_option("")
    await page.get_by_role("radio", name="Chat", exact=True).check()
    for count in (1, 2):
        await page.get_by_label("Prompt").fill("a good")
        await page.get_by_role("button", name="Send").click()
        await expect(told).to_have_count(count, timeout=LOADED)
        await expect(page.get_by_label("Prompt")).to_have_value("")


async def test_a_fault_is_told_where_it_happens(site, window, tiny):
    job_id = await finished(site.world, tiny)
    page = await window.go(f"playground={job_id}")
    await expect(page.get_by_role("combobox", name="Compared with")).to_have_value(f"{job_id}/one")
    shutil.rmtree(site.world.settings.folder(job_id).stage_model("one"))
    await page.get_by_label("At most").fill("4")
    await page.get_by_label("Prompt").fill("a")
    await page.get_by_role("button", name="Send").click()
    first, second = page.locator(".talking").nth(0), page.locator(".talking").nth(1)
    await expect(second.locator(".fault")).to_be_visible(timeout=LOADED)
    await expect(first.locator(".reply:not([aria-busy])")).to_contain_text(
        "tokens, the first", timeout=LOADED
    )
    assert all("400" in fault for fault in window.faults)
    window.faults.clear()


async def test_without_a_model_it_says_how_to_get_one(site, window):
    page = await window.go("playground")
    await expect(page.get_by_text("No model yet.")).to_be_visible()
    await expect(page.get_by_role("link", name="Playground")).to_have_attribute(
        "aria-current", "page"
    )
