"""From words to pictures."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, Request, expect

from tests.browser.conftest import PROMPT, Open, make, sent

if TYPE_CHECKING:
    from tests.conftest import LiveService

GENERATIONS = re.compile(".*/openai/v1/images/generations")


def generation(page: Page) -> Request:
    """Presses Enter in the prompt; what that asks of the service."""
    with page.expect_request(GENERATIONS) as asked:
        page.press("#prompt", "Enter")
    return asked.value


def test_the_first_visit_needs_nothing_but_enter(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector("#model")
    assert page.input_value("#prompt") == PROMPT
    expect(page.get_by_role("heading", name="Say what you want to see")).to_be_visible()
    with page.expect_request(GENERATIONS) as asked:
        page.keyboard.press("Enter")
    name = "stabilityai/stable-diffusion-xl-base-1.0"
    assert sent(asked.value) == {"model": name, "prompt": PROMPT, "stream": True, "partial_images": 3}
    picture = page.locator(".run .slot.is-done img")
    expect(picture).to_have_js_property("naturalWidth", 256)
    expect(picture).to_have_js_property("naturalHeight", 256)
    assert page.evaluate("document.activeElement.id") == "prompt"
    assert page.locator(".run-facts").inner_text().startswith("Stable Diffusion XL base 1.0 · 256 × 256 · ")


def test_an_example_is_a_click_away(page: Page) -> None:
    page.get_by_role("button", name="a woman in green").click()
    expect(page.locator(".run .slot.is-done img")).to_be_visible()


def test_the_picture_is_seen_while_it_forms(page: Page) -> None:
    page.evaluate(
        """() => {
            window.seen = {previews: new Set(), texts: new Set()};
            new MutationObserver(() => {
                for (const image of document.querySelectorAll(".preview")) seen.previews.add(image.src);
                for (const bar of document.querySelectorAll("[role=progressbar]")) seen.texts.add(bar.ariaValueText);
            }).observe(document.body, {subtree: true, childList: true, attributes: true});
        }"""
    )
    page.check("input[name=quality][value=hd]")
    make(page)
    seen = page.evaluate("({previews: [...seen.previews], texts: [...seen.texts]})")
    assert len(seen["previews"]) == 3
    steps = [int(found[1]) for text in seen["texts"] if (found := re.match(r"Step (\d+) of 20", text or ""))]
    assert len(steps) > 2
    assert steps == sorted(steps)
    expect(page.get_by_role("status").filter(has_text="The picture is ready.")).to_have_count(1)


def test_shift_and_enter_make_a_line(page: Page) -> None:
    page.fill("#prompt", "one")
    page.press("#prompt", "End")
    page.press("#prompt", "Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value("#prompt") == "one\ntwo"
    assert page.locator(".run").count() == 0


def test_weighed_words_are_marked(page: Page) -> None:
    page.fill("#prompt", "a (red fox:1.3) in deep(1.8) snow, (clouds)0.4 (1999)")
    assert page.locator("mark.more-1").all_inner_texts() == ["(", "red fox", ":1.3)"]
    assert page.locator("mark.more-3").all_inner_texts() == ["deep", "(1.8)"]
    assert page.locator("mark.less-2").all_inner_texts() == ["(", "clouds", ")0.4"]
    assert page.locator("mark").count() == 8


def test_all_that_is_chosen_is_sent(page: Page) -> None:
    page.get_by_role("radio", name="Landscape").check()
    page.check("input[name=quality][value=low]")
    page.get_by_role("button", name="One picture more").click()
    page.locator(".more > summary").click()
    page.fill("#steps", "3")
    page.fill("#guidance", "6.5")
    page.fill("#seed", "7")
    page.fill("#negative", "blurry")
    page.check("input[name=format][value=webp]")
    page.fill("#prompt", "an otter")
    body = sent(generation(page))
    wanted = {"size": "296x224", "n": 2, "quality": "low", "num_steps": 3, "guidance_scale": 6.5, "seed": 7}
    assert wanted.items() <= body.items()
    assert (body["negative_prompt"], body["output_format"], body["output_compression"]) == ("blurry", "webp", 90)
    page.wait_for_selector(".run [aria-label='Show large: an otter, picture 2'] img")
    page.click(".run [aria-label='Show large: an otter, picture 1']")  # in the gallery the last to be done is the first
    facts = page.locator(".facts").inner_text()
    assert "296 × 224" in facts
    assert re.search(r"Seed\s+7\b", facts)
    assert re.search(r"Steps\s+3\b", facts)


def test_what_a_model_does_not_take_is_not_shown(page: Page) -> None:
    page.locator(".more > summary").click()
    expect(page.locator("#guidance")).to_be_visible()
    page.select_option("#model", label="FLUX.1 schnell")
    expect(page.locator("#guidance")).to_have_count(0)
    expect(page.locator("#negative")).to_have_count(0)
    assert page.get_attribute("#steps", "max") == "8"
    body = sent(generation(page))
    assert body["model"] == "black-forest-labs/FLUX.1-schnell"
    expect(page.locator(".run .slot.is-done img")).to_be_visible()


def test_a_size_that_the_model_does_not_make_is_told_before_it_is_asked_for(page: Page) -> None:
    page.get_by_role("radio", name="Free").check()
    page.get_by_label("Width").fill("2000")
    page.press("#prompt", "Enter")
    expect(page.locator("#size-problem")).to_have_text("Sides are 64 to 1024 pixels.")
    expect(page.locator("#size")).to_be_focused()
    assert page.locator(".run").count() == 0
    page.get_by_label("Width").fill("128")
    page.get_by_label("Height").fill("64")
    assert sent(generation(page))["size"] == "128x64"


def test_a_size_that_is_none_is_forgotten(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("radio", name="Free").check()
    page.get_by_label("Width").fill("123456")
    page.press("#prompt", "Enter")
    expect(page.locator("#size-problem")).to_have_text("Sides are 64 to 1024 pixels.")
    page.evaluate("localStorage.setItem('easel-choices', JSON.stringify({size: '0x1024'}))")
    page.reload()
    page.wait_for_selector("#model")
    assert "size" not in sent(generation(page))


def test_the_button_asks_with_what_another_model_took(open_page: Open) -> None:
    page = open_page()
    page.locator(".more > summary").click()
    page.fill("#steps", "20")
    page.fill("#guidance", "7.3")
    page.press("#guidance", "Tab")
    page.locator(".more > summary").click()
    with page.expect_request(GENERATIONS) as asked:
        page.get_by_role("button", name="Make the picture").click()
    assert sent(asked.value)["guidance_scale"] == 7.3
    page.select_option("#model", label="FLUX.1 schnell")
    with page.expect_request(GENERATIONS) as asked:
        page.get_by_role("button", name="Make the picture").click()
    assert sent(asked.value)["num_steps"] == 8
    assert page.input_value("#steps") == "8"


def test_what_is_typed_stays_when_the_page_is_drawn_anew(page: Page) -> None:
    """As it is when the models' states come, or a picture: a number counts only when its field is left."""
    page.locator(".more > summary").click()
    page.locator(".shape", has_text="Free").click()
    for selector, typed, field, value in (
        ("#steps", "7", "num_steps", 7),
        ("#seed", "12", "seed", 12),
        ("#count", "2", "n", 2),
        (".sides input >> nth=0", "128", "size", "128x256"),
    ):
        page.fill(selector, typed)
        for quality in ("low", "smooth"):
            page.evaluate("name => document.querySelector(`input[name=quality][value=${name}]`).click()", quality)
            expect(page.locator(f"input[name=quality][value={quality}]")).to_be_checked()
        expect(page.locator(selector)).to_have_value(typed)
        page.press(selector, "Tab")
        expect(page.locator(selector)).to_have_value(typed)
        assert sent(generation(page))[field] == value


def test_a_key_that_is_held_asks_once(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector("#model")
    page.focus("#prompt")
    for _ in range(5):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    expect(page.locator(".run .slot.is-done img")).to_be_visible()
    assert page.locator(".run").count() == page.locator(".thumbnail").count() == 1
    assert page.input_value("#prompt") == PROMPT


def test_a_seed_is_drawn_and_kept(page: Page) -> None:
    page.locator(".more > summary").click()
    page.get_by_role("button", name="Draw a seed").click()
    drawn = int(page.input_value("#seed"))
    page.get_by_role("button", name="Let the seed be random").click()
    assert page.input_value("#seed") == ""
    page.fill("#seed", str(drawn))
    first = sent(generation(page))
    assert first["seed"] == drawn
    expect(page.locator(".run .slot.is-done img")).to_be_visible()
    page.get_by_role("button", name="Let the seed be random").click()
    page.get_by_role("button", name="Keep the last seed").click()
    assert page.input_value("#seed") == str(drawn)


def cancelled(service: LiveService) -> int:
    """Requests that the engine was told to end; asked in a thread, since Playwright's event loop runs in this one."""
    with ThreadPoolExecutor() as threads:
        return threads.submit(lambda: service.engine().cancelled).result()


@pytest.mark.parametrize("way", ["Stop", "leave"])
def test_stopping_ends_the_work_of_the_service(way: str, open_page: Open, service: LiveService) -> None:
    page = open_page()
    page.wait_for_selector("#model")
    before = cancelled(service)
    page.get_by_role("radio", name="Free").check()
    page.get_by_label("Width").fill("1024")
    page.get_by_label("Height").fill("1024")
    page.locator(".more > summary").click()
    page.fill("#steps", "100")
    page.press("#prompt", "Enter")
    page.wait_for_selector(r".progress-text:text-matches('Step [1-9]\\d* of 100')")
    if way == "Stop":
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".run")).to_have_count(0)
    else:
        page.goto("about:blank")
    ends = time.monotonic() + 60
    while cancelled(service) == before and time.monotonic() < ends:
        time.sleep(0.1)
    assert cancelled(service) == before + 1


def test_several_run_at_once(page: Page) -> None:
    page.check("input[name=quality][value=hd]")
    for prompt in ("one otter", "two otters", "three otters"):
        page.fill("#prompt", prompt)
        page.press("#prompt", "Enter")
    expect(page.locator(".thumbnail")).to_have_count(3)
    assert page.locator(".run").first.locator(".run-prompt").inner_text() == "three otters"


def test_what_was_chosen_is_there_at_the_next_visit(page: Page) -> None:
    page.fill("#prompt", "an otter")
    page.check("input[name=quality][value=low]")
    page.get_by_role("button", name=re.compile("^Theme")).click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.reload()
    page.wait_for_selector("#model")
    assert page.input_value("#prompt") == "an otter"
    assert page.is_checked("input[name=quality][value=low]")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
