"""The pictures that were made: kept, shown, used again, and as programs."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, make, shown_picture, wait_until_kept


def same(one: Image.Image, other: Image.Image) -> bool:
    """But for what batches of other sizes round differently: no two of the small models' pictures are nearly alike."""
    difference = np.asarray(one.convert("RGB"), dtype=float) - np.asarray(other.convert("RGB"))
    return bool(np.abs(difference).mean() < 1)


def test_pictures_outlive_the_page_until_they_are_deleted(page: Page) -> None:
    make(page, "one otter")
    make(page, "two otters")
    wait_until_kept(page, 2)
    page.reload()
    expect(page.locator(".thumbnail")).to_have_count(2)
    assert page.locator(".thumbnail").first.get_attribute("aria-label") == "Show large: two otters"
    page.locator(".thumbnail").first.click()
    page.locator(".viewer").get_by_role("button", name="Delete").click()
    expect(page.locator(".viewer-prompt")).to_have_text("one otter")
    page.get_by_role("button", name="Close").click()
    wait_until_kept(page, 1)
    page.reload()
    expect(page.locator(".thumbnail")).to_have_count(1)
    page.get_by_role("button", name="Clear all").click()
    page.get_by_role("button", name="Delete all").click()
    wait_until_kept(page, 0)
    page.reload()
    page.wait_for_selector(".empty")
    expect(page.locator(".thumbnail")).to_have_count(0)


def test_a_deleted_picture_leaves_its_run(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector("#model")
    page.get_by_role("button", name="One picture more").click()
    make(page, "an otter", pictures=2)
    for left in (1, 0):
        page.locator(".thumbnail").first.click()
        page.locator(".viewer").get_by_role("button", name="Delete").click()
        expect(page.locator(".run .slot.is-done")).to_have_count(left)
        page.keyboard.press("Escape")
    expect(page.locator(".run")).to_have_count(0)


def test_the_arrow_keys_go_from_picture_to_picture(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector("#model")
    for prompt in ("one otter", "two otters", "three otters"):
        make(page, prompt)
    page.locator(".thumbnail").first.focus()
    page.keyboard.press("Enter")
    prompt = page.locator(".viewer-prompt")
    expect(prompt).to_have_text("three otters")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(prompt).to_have_text("one otter")
    page.keyboard.press("ArrowRight")  # there is none
    page.keyboard.press("ArrowLeft")
    expect(prompt).to_have_text("two otters")
    page.keyboard.press("Escape")
    expect(page.locator(".viewer")).to_have_count(0)
    assert page.evaluate("document.activeElement.className") == "thumbnail"


def test_keys_are_the_viewers_as_soon_as_it_is_there(page: Page) -> None:
    make(page, "an otter")
    shown = page.evaluate("""async () => {
        document.querySelector(".thumbnail").click();
        while (!document.querySelector(".viewer")) await null;  // not a frame passes
        return document.querySelector(".viewer").open;
    }""")
    assert shown


def test_a_picture_can_be_made_again(page: Page) -> None:
    page.check("input[name=quality][value=low]")
    make(page, "an otter")
    page.locator(".thumbnail").click()
    first = shown_picture(page)
    page.get_by_role("button", name="Close").click()
    page.check("input[name=quality][value=smooth]")
    page.fill("#prompt", "something else")
    page.locator(".thumbnail").click()
    page.locator(".viewer").get_by_role("button", name="Use again").click()
    assert page.input_value("#prompt") == "an otter"
    assert page.is_checked("input[name=quality][value=low]")
    page.press("#prompt", "Enter")
    expect(page.locator(".thumbnail")).to_have_count(2)
    page.locator(".thumbnail").first.click()
    assert same(shown_picture(page), first)


def test_a_picture_can_be_saved(page: Page) -> None:
    make(page, "An otter, (swimming:1.2)")
    page.locator(".thumbnail").click()
    shown = shown_picture(page)
    with page.expect_download() as saved:
        page.locator(".viewer").get_by_role("link", name="Save").click()
    assert re.fullmatch(r"an-otter-swimming-1-2-\d+\.png", saved.value.suggested_filename)
    assert same(Image.open(saved.value.path()), shown)


PROGRAMS = {
    "curl": (["bash", "program"], "curl"),
    "Python": ([sys.executable, "program"], sys.executable),
    "JavaScript": (["node", "program.mjs"], "node"),
}


def run_snippet(page: Page, language: str, folder: Path) -> Image.Image:
    """The picture that the program makes which is shown for the picture that is shown large."""
    command, needed = PROGRAMS[language]
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")
    page.locator(".viewer").get_by_role("button", name="Code").click()
    dialog = page.get_by_role("dialog", name="The same by program")
    expect(dialog.locator("pre")).to_be_visible()  # and with it all links
    for link in dialog.get_by_role("link").all():
        with page.expect_download() as saved:
            link.click()
        saved.value.save_as(folder / saved.value.suggested_filename)
    dialog.get_by_role("radio", name=language).check()
    (folder / command[-1]).write_text(dialog.locator("pre").inner_text())
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if language == "curl" and shutil.which("jq") is None:
        answer = json.loads((folder / "answer.json").read_text())
        return Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"])))
    assert done.returncode == 0, done.stderr
    (picture,) = folder.glob("picture*")
    return Image.open(picture)


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_program_makes_the_same_picture(language: str, open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    page.wait_for_selector("#model")
    page.locator(".more > summary").click()
    page.fill("#steps", "3")
    page.fill("#negative", 'it\'s "red" $HOME `ls`')
    page.get_by_role("button", name="One picture more").click()
    make(page, "an otter's (fish:1.3)", pictures=2)
    page.locator(".thumbnail").nth(1).click()
    shown = shown_picture(page)
    assert same(run_snippet(page, language, tmp_path), shown)


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_program_of_an_edit_makes_the_same_picture(
    language: str, open_page: Open, photo: Path, tmp_path: Path
) -> None:
    page = open_page()
    page.check("input[name=mode][value=edit]")
    page.set_input_files("#picture", photo)
    page.wait_for_selector("mask-editor >> visible=true")
    page.fill("#prompt", "an otter")
    page.press("#prompt", "Enter")
    page.wait_for_selector(".thumbnail")
    page.locator(".thumbnail").click()
    folder = tmp_path / "program"
    folder.mkdir()
    shown = shown_picture(page)
    assert same(run_snippet(page, language, folder), shown)
