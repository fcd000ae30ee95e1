"""Pictures from pictures, and from poses."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, make, sent, shown_picture, wait_until_kept

EDITS = re.compile(".*/openai/v1/images/edits")
GENERATIONS = re.compile(".*/openai/v1/images/generations")


def give(page: Page, event: str, file: Path, *, kind: str = "image/png", to: str = "body", text: str = "") -> bool:
    """Drops or pastes a file, beside any place for it; with text, as a word processor does. Whether the browser goes on
    with it."""
    goes_on: bool = page.evaluate(
        """([event, data, type, to, text]) => {
            const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
            const files = new DataTransfer();
            files.items.add(new File([bytes], "photo", {type}));
            if (text) files.setData("text/plain", text);
            const options = {bubbles: true, cancelable: true};
            return document.querySelector(to).dispatchEvent(event === "drop"
                ? new DragEvent("drop", {...options, dataTransfer: files})
                : new ClipboardEvent("paste", {...options, clipboardData: files}));
        }""",
        [event, base64.b64encode(file.read_bytes()).decode(), kind, to, text],
    )
    return goes_on


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


def test_a_picture_is_varied_and_compared_with_what_it_was(page: Page, uneven_photo: Path) -> None:
    page.check("input[name=mode][value=edit]")
    page.set_input_files("#picture", uneven_photo)
    page.wait_for_selector("mask-editor >> visible=true")
    assert page.locator(".shapes").count() == 0
    page.fill("#prompt", "an otter")
    note_forms(page)
    page.press("#prompt", "Enter")
    expect(page.locator(".run picture-compare img").first).to_be_visible()
    form = page.evaluate("window.form")
    assert (form["image"], form["stream"]) == ("image/png", "true")
    assert form.keys().isdisjoint({"mask", "size"})
    page.locator(".thumbnail").click()
    assert "250 × 187" in page.locator(".facts").inner_text()
    page.get_by_label("Compare with before").check()
    expect(page.locator(".viewer picture-compare img").first).to_be_visible()


def paint(page: Page) -> None:
    """Draws over the middle of the picture in the editor."""
    canvas = page.locator("mask-editor canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(across - 20, down)
    page.mouse.down()
    page.mouse.move(across + 20, down, steps=5)
    page.mouse.up()


@pytest.mark.parametrize("model", ["Stable Diffusion XL base 1.0", "FLUX.1 Fill dev"])
def test_what_is_not_painted_over_stays_as_it_was(model: str, page: Page, uneven_photo: Path) -> None:
    page.check("input[name=mode][value=edit]")
    page.select_option("#model", label=model)
    page.set_input_files("#picture", uneven_photo)
    page.wait_for_selector("mask-editor >> visible=true")
    paint(page)
    note_forms(page)
    page.fill("#prompt", "an otter")
    page.press("#prompt", "Enter")
    page.wait_for_selector(".thumbnail")
    assert page.evaluate("window.form.mask") == "image/png"
    page.locator(".thumbnail").click()
    before, after = np.asarray(Image.open(uneven_photo).convert("RGB")), np.asarray(shown_picture(page))
    changed = (before != after).any(axis=-1)
    assert before.shape == after.shape
    assert changed.any()
    assert not changed[:20].any()
    assert not changed[-20:].any()


def pose_and_paint(page: Page, photo: Path) -> None:
    """Something to lose, in both editors; that of the mask is shown."""
    page.check("input[name=mode][value=pose]")
    page.get_by_role("button", name="Standing figure").click()
    page.check("input[name=mode][value=edit]")
    page.set_input_files("#picture", photo)
    page.wait_for_selector("mask-editor >> visible=true")
    paint(page)


def test_what_was_painted_and_posed_is_there_when_one_comes_back(page: Page, photo: Path) -> None:
    pose_and_paint(page, photo)
    page.check("input[name=mode][value=text]")
    expect(page.locator("mask-editor")).to_be_hidden()
    page.check("input[name=mode][value=pose]")
    assert page.evaluate("document.querySelector('pose-editor').pose.people.length") == 1
    page.check("input[name=mode][value=edit]")
    expect(page.locator("mask-editor")).to_be_visible()
    assert page.evaluate("document.querySelector('mask-editor').result().then(({mask}) => mask.type)") == "image/png"


def test_what_was_painted_and_posed_stays_when_the_window_turns(open_page: Open, photo: Path) -> None:
    page = open_page()
    pose_and_paint(page, photo)
    page.set_viewport_size({"width": 800, "height": 1280})
    expect(page.locator("form mask-editor")).to_be_visible()
    assert page.evaluate("document.querySelector('mask-editor').result().then(({mask}) => mask.type)") == "image/png"
    page.check("input[name=mode][value=pose]")
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.locator("#results pose-editor")).to_be_visible()
    assert page.evaluate("document.querySelector('pose-editor').pose.people.length") == 1


def test_a_picture_is_used_again_with_its_mask(open_page: Open, photo: Path) -> None:
    page = open_page()
    page.check("input[name=mode][value=edit]")
    page.set_input_files("#picture", photo)
    page.wait_for_selector("mask-editor >> visible=true")
    paint(page)
    page.press("#prompt", "Enter")
    page.wait_for_selector(".thumbnail")
    wait_until_kept(page, 1)
    page.reload()
    page.locator(".thumbnail").click()
    page.locator(".viewer").get_by_role("button", name="Use again").click()
    page.wait_for_selector("mask-editor >> visible=true")
    assert page.evaluate("document.querySelector('mask-editor').result().then(({mask}) => mask.type)") == "image/png"


def test_a_picture_is_used_again_with_its_pose(open_page: Open) -> None:
    page = open_page()
    page.check("input[name=mode][value=pose]")
    page.get_by_role("button", name="Standing figure").click()
    with page.expect_request(GENERATIONS) as first:
        page.press("#prompt", "Enter")
    page.wait_for_selector(".thumbnail")
    wait_until_kept(page, 1)
    page.reload()
    page.locator(".thumbnail").click()
    page.locator(".viewer").get_by_role("button", name="Use again").click()
    expect(page.locator("pose-editor")).to_be_visible()
    with page.expect_request(GENERATIONS) as second:
        page.press("#prompt", "Enter")
    assert sent(first.value)["keypoints"] == sent(second.value)["keypoints"]
    expect(page.locator(".thumbnail")).to_have_count(2)


def test_a_picture_is_painted_beyond_its_edges(open_page: Open, photo: Path) -> None:
    page = open_page()
    page.check("input[name=mode][value=edit]")
    page.set_input_files("#picture", photo)
    page.wait_for_selector("mask-editor >> visible=true")
    page.get_by_role("button", name="Extend").click()
    page.locator("mask-editor").get_by_role("button", name="Square").click()
    page.fill("#prompt", "an otter")
    page.press("#prompt", "Enter")
    page.wait_for_selector(".thumbnail")
    page.locator(".thumbnail").click()
    assert "256 × 256" in page.locator(".facts").inner_text()


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


def test_text_that_comes_with_a_picture_is_pasted_as_text(open_page: Open, photo: Path) -> None:
    page = open_page()
    page.wait_for_selector("#model")
    assert give(page, "paste", photo, to="#prompt", text="an otter")
    assert page.is_checked("input[name=mode][value=text]")


def test_a_file_that_is_no_picture_does_not_replace_the_page(open_page: Open, photo: Path) -> None:
    page = open_page()
    page.wait_for_selector("#model")
    assert not give(page, "drop", photo, kind="image/gif")
    expect(page.locator("#picture-problem")).to_have_text("PNG, JPEG and WebP pictures can be read.")
    page.set_input_files("#picture", photo)
    page.wait_for_selector("mask-editor >> visible=true")
    expect(page.locator("#picture-problem")).to_be_empty()


def test_what_is_no_picture_is_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    page.check("input[name=mode][value=edit]")
    page.set_input_files("#picture", tmp_path / "notes.txt")
    expect(page.locator("#picture-problem")).to_have_text("PNG, JPEG and WebP pictures can be read.")


def test_a_photo_gives_its_pose(page: Page, person: Path) -> None:
    page.check("input[name=mode][value=pose]")
    page.set_input_files("#pose", person)
    page.wait_for_selector("pose-editor >> visible=true")
    with page.expect_request(GENERATIONS) as asked:
        page.press("#prompt", "Enter")
    (somebody,) = sent(asked.value)["keypoints"]["people"]
    assert sum(confidence > 0 for confidence in somebody["pose_keypoints_2d"][2::3]) > 5
    expect(page.locator(".run .slot.is-done img")).to_be_visible()


def test_nobody_in_a_photo_is_told(open_page: Open, tmp_path: Path) -> None:
    Image.new("RGB", (256, 256), "teal").save(tmp_path / "nobody.png")
    page = open_page(expected="400")
    page.check("input[name=mode][value=pose]")
    page.set_input_files("#pose", tmp_path / "nobody.png")
    expect(page.locator("#pose-problem")).not_to_be_empty()
    page.press("#prompt", "Enter")
    assert page.locator(".run").count() == 0


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
