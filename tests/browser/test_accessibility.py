"""For everybody: axe finds nothing in any state, the keyboard is enough, and nothing runs over a narrow window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import EVERYWHERE, Open, make
from tests.elements.pages import AXE

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def empty(page: Page, photo: Path) -> None:
    page.locator("#prompt-help summary").click()
    page.locator(".more > summary").click()


def made(page: Page, photo: Path) -> None:
    make(page, "an (otter:1.5)")
    page.get_by_role("button", name="Clear all").click()


def large(page: Page, photo: Path) -> None:
    make(page)
    page.locator(".thumbnail").click()


def program(page: Page, photo: Path) -> None:
    large(page, photo)
    page.locator(".viewer").get_by_role("button", name="Code").click()


def edit(page: Page, photo: Path) -> None:
    page.check("input[name=mode][value=edit]")
    page.set_input_files("#picture", photo)
    page.wait_for_selector("mask-editor >> visible=true")
    page.press("#prompt", "Enter")
    page.wait_for_selector(".run picture-compare img")


def pose(page: Page, photo: Path) -> None:
    page.check("input[name=mode][value=pose]")
    page.get_by_role("button", name="Standing figure").click()


def wrong(page: Page, photo: Path) -> None:
    page.check("input[name=mode][value=edit]")
    page.fill("#prompt", "")
    page.press("#prompt", "Enter")
    page.wait_for_selector("#prompt-problem:not(:empty)")


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: make install-clients")
@pytest.mark.parametrize("where", EVERYWHERE)
@pytest.mark.parametrize("state", [empty, made, large, program, edit, pose, wrong])
def test_axe_finds_nothing(state: Callable[[Page, Path], None], where: str, open_page: Open, photo: Path) -> None:
    page = open_page(where, reduced_motion="reduce")
    page.wait_for_selector("#model")
    state(page, photo)
    page.evaluate(AXE.read_text())  # as the page's own scripts could not
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = page.evaluate("rules => axe.run({runOnly: rules, resultTypes: ['violations']})", RULES)
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]] == []


def test_the_keyboard_is_enough(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector("#model")
    page.keyboard.press("Enter")  # the prompt has the focus
    page.wait_for_selector(".run .picture-actions")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.innerText.trim()"))
        if page.evaluate("document.activeElement.className") == "thumbnail":
            break
    assert {"model", "count", "Save", "Use again", "Edit", "Code"} <= set(reached)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_whoever_wants_no_motion_gets_none(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    page.wait_for_selector("#model")
    page.press("#prompt", "Enter")
    page.wait_for_selector(".run")
    durations = page.evaluate("document.getAnimations().map((each) => each.effect.getComputedTiming().duration)")
    assert all(milliseconds < 1 for milliseconds in durations)


@pytest.mark.parametrize("width", [320, 360, 768, 861, 1920])
def test_nothing_runs_over_the_window(width: int, open_page: Open, photo: Path) -> None:
    page = open_page(size=(width, 800))
    page.wait_for_selector("#model")
    page.get_by_role("radio", name="Free").check()
    page.locator(".more > summary").click()
    make(page, "anotterwhosenameisverylong" * 8)
    for mode in ("text", "edit", "pose"):
        page.check(f"input[name=mode][value={mode}]")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".thumbnail").click()
    assert page.evaluate("document.querySelector('.viewer').scrollWidth") <= width
