"""Pictures from pictures, and from poses."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, make, sent

EDITS = re.compile(".*/openai/v1/images/edits")
GENERATIONS = re.compile(".*/openai/v1/images/generations")


def give(page: Page, event: str, photo: Path) -> None:
    """Drops or pastes the photo, beside any place for it."""
    page.evaluate(
        """([kind, data]) => {
            const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
            const files = new DataTransfer();
            files.items.add(new File([bytes], "photo.png", {type: "image/png"}));
            const options = {bubbles: true, cancelable: true};
            document.body.dispatchEvent(kind === "drop"
                ? new DragEvent("drop", {...options, dataTransfer: files})
                : new ClipboardEvent("paste", {...options, clipboardData: files}));
        }""",
        [event, base64.b64encode(photo.read_bytes()).decode()],
    )


def note_forms(page: Page) -> None:
    """Has the page note the form that it sends, which the browser shows nobody else; of a file its type."""
    page.evaluate(
        """() => {
            const ask = window.fetch;
            window.fetch = (address, options) => {
                if (options.body instanceof FormData) {
                    const fields = [...options.body].map(([name, value]) => [name, value.type ?? value]);
                    window.form = Object.fromEntries(fields);
                }
                return ask(address, options);
            };
        }"""
    )


def test_a_picture_is_varied_and_compared_with_what_it_was(page: Page, photo: Path) -> None:
    page.check("input[name=mode][value=edit]")
    page.set_input_files("#picture", photo)
    page.wait_for_selector("mask-editor >> visible=true")
    assert page.locator(".shapes").count() == 0
    page.fill("#prompt", "an otter")
    note_forms(page)
    page.press("#prompt", "Enter")
    expect(page.locator(".run picture-compare img").first).to_be_visible()
    form = page.evaluate("window.form")
    assert (form["size"], form["image"], form["stream"]) == ("256x192", "image/png", "true")
    assert "mask" not in form
    page.locator(".thumbnail").click()
    assert "256 × 192" in page.locator(".facts").inner_text()
    page.get_by_label("Compare with before").check()
    expect(page.locator(".viewer picture-compare img").first).to_be_visible()


def test_a_picture_that_was_made_can_be_edited(page: Page) -> None:
    make(page, "an otter")
    page.locator(".run").get_by_role("button", name="Edit").click()
    assert page.is_checked("input[name=mode][value=edit]")
    page.wait_for_selector("mask-editor >> visible=true")
    page.fill("#prompt", "two otters")
    with page.expect_request(EDITS):
        page.press("#prompt", "Enter")
    expect(page.locator(".thumbnail")).to_have_count(2)


def test_a_model_that_repaints_asks_for_what(page: Page, photo: Path) -> None:
    page.check("input[name=mode][value=edit]")
    page.select_option("#model", label="FLUX.1 Fill dev")
    page.press("#prompt", "Enter")
    expect(page.locator("#picture-problem")).to_have_text("Choose the picture to edit.")
    page.set_input_files("#picture", photo)
    page.wait_for_selector("mask-editor >> visible=true")
    page.press("#prompt", "Enter")
    expect(page.locator("#picture-problem")).to_contain_text("Paint over what shall change")
    assert page.locator(".run").count() == 0


def test_a_picture_is_dropped_or_pasted_anywhere(open_page: Open, photo: Path) -> None:
    for event in ("drop", "paste"):
        page = open_page()
        page.wait_for_selector("#model")
        give(page, event, photo)
        page.wait_for_selector("mask-editor >> visible=true")
        assert page.is_checked("input[name=mode][value=edit]")


def test_what_is_no_picture_is_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    page.check("input[name=mode][value=edit]")
    page.set_input_files("#picture", tmp_path / "notes.txt")
    expect(page.locator("#picture-problem")).to_have_text("PNG, JPEG and WebP pictures can be read.")


def test_a_figure_gives_its_pose(page: Page) -> None:
    page.check("input[name=mode][value=pose]")
    page.press("#prompt", "Enter")
    expect(page.locator("#pose-problem")).to_have_text("Begin with a photo or the standing figure.")
    page.get_by_role("button", name="Standing figure").click()
    expect(page.locator("#pose-problem")).to_be_empty()
    page.fill("#poseStrength", "0.5")
    page.get_by_role("radio", name="Portrait").check()
    page.fill("#prompt", "a dancer")
    with page.expect_request(GENERATIONS) as asked:
        page.press("#prompt", "Enter")
    body = sent(asked.value)
    assert (body["model"], body["size"], body["pose_strength"]) == ("easel/stable-diffusion-xl-pose", "224x296", 0.5)
    assert len(body["keypoints"]["people"][0]["pose_keypoints_2d"]) == 54
    expect(page.locator(".run .slot.is-done img")).to_be_visible()
