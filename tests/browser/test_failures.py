"""What a person is told when something is amiss, and what they can do. What the service rarely says is said for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Open, wait_until_kept

KEY = "a-secret-key"
ANOTHER = pytest.mark.long("one of them is enough for most runs")
GENERATIONS = re.compile(".*/openai/v1/images/generations")


def error(status: int, code: str, message: str = "Why.", param: str | None = None, **headers: str) -> dict[str, Any]:
    """An answer as the service gives it."""
    detail = {"message": message, "type": "any", "param": param, "code": code}
    return {
        "status": status,
        "headers": {"content-type": "application/json", **headers},
        "body": json.dumps({"error": detail}),
    }


def once(**answer: Any) -> Callable[[Page], None]:
    """Answers the first request for pictures so, and lets the others pass."""

    def prepare(page: Page) -> None:
        page.route(GENERATIONS, lambda route: route.fulfill(**answer), times=1)

    return prepare


def with_key(page: Page) -> None:
    """Asks for the key on every route that needs one."""

    def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == f"Bearer {KEY}":
            route.continue_()
        else:
            route.fulfill(**error(401, "invalid_api_key"))

    page.route(re.compile(".*/v1/.*"), guard)


@pytest.mark.parametrize("where", ["desktop", "phone"])
def test_a_key_is_asked_for_and_stays_in_the_tab(where: str, open_page: Open) -> None:
    page = open_page(where, prepare=with_key, expected="401")
    expect(page.get_by_role("heading", name="This service asks for a key")).to_be_visible()
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The key that you gave is not known here.")).to_be_visible()
    page.fill("#key", "wrong")
    with page.expect_request("**/v1/models"):  # it may be known by now
        page.press("#key", "Enter")
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    page.wait_for_selector("#model")
    page.press("#prompt", "Enter")
    expect(page.locator(".run .slot.is-done img")).to_be_visible()
    wait_until_kept(page, 1)
    page.reload()
    page.wait_for_selector("#model")  # the tab still has it
    assert KEY in page.evaluate("JSON.stringify(sessionStorage)")
    assert KEY not in page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
    page.locator(".thumbnail").click()
    page.locator(".viewer").get_by_role("button", name="Code").click()
    for language in ("curl", "Python", "JavaScript"):
        page.get_by_role("radio", name=language).check()
        assert "EASEL_API_KEY" in page.locator(".snippet").inner_text()
        assert KEY not in page.locator(".snippet").inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="API key: change").click()
    page.get_by_role("button", name="Forget it").click()
    expect(page.get_by_role("heading", name="This service asks for a key")).to_be_visible()
    assert KEY not in page.evaluate("JSON.stringify(sessionStorage)")


@pytest.mark.parametrize(
    ("status", "code", "title"),
    [
        (429, "rate_limit_exceeded", "Your key has what it may have for now"),
        pytest.param(503, "server_is_overloaded", "The model is busy", marks=ANOTHER),
        pytest.param(503, "model_loading", "The model is still loading", marks=ANOTHER),
    ],
)
def test_later_is_counted_down_and_offered(status: int, code: str, title: str, open_page: Open) -> None:
    page = open_page(expected=str(status), prepare=once(**error(status, code, **{"retry-after": "4"})))
    page.wait_for_selector("#model")
    page.press("#prompt", "Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(title)
    button = alert.get_by_role("button", name=re.compile("^Try again"))
    expect(button).to_be_disabled()
    assert re.fullmatch(r"Try again in [1-4] s", button.inner_text().strip())
    expect(button).to_be_enabled()
    button.click()
    expect(page.locator(".run .slot.is-done img")).to_be_visible()
    expect(alert).to_have_count(0)


def test_a_bad_field_is_told_at_the_field(open_page: Open) -> None:
    refusal = error(400, "invalid_value", "SDXL takes 1 to 7 steps.", "num_steps")
    page = open_page(expected="400", prepare=once(**refusal))
    page.wait_for_selector("#model")
    page.press("#prompt", "Enter")
    expect(page.locator("#steps-problem")).to_have_text("SDXL takes 1 to 7 steps.")
    assert page.get_attribute("#steps", "aria-invalid") == "true"
    expect(page.locator("#steps")).to_be_focused()
    page.fill("#steps", "5")
    page.press("#steps", "Tab")
    expect(page.locator("#steps-problem")).to_be_empty()


def test_no_prompt_is_told_at_the_prompt(page: Page) -> None:
    page.fill("#prompt", "  ")
    page.press("#prompt", "Enter")
    expect(page.locator("#prompt-problem")).to_have_text("Say what the picture shall show.")


def test_a_failure_amid_a_stream_is_told(open_page: Open) -> None:
    detail = {"message": "Lost.", "type": "service_unavailable_error", "param": None, "code": "replica_lost"}
    body = f": picture 0: waiting\n\nevent: error\ndata: {json.dumps({'error': detail})}\n\n"
    page = open_page(prepare=once(status=200, content_type="text/event-stream", body=body))
    page.wait_for_selector("#model")
    page.press("#prompt", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("The model had to start anew")


def test_a_stream_that_breaks_off_is_told(open_page: Open) -> None:
    answer = {"status": 200, "content_type": "text/event-stream", "body": ": picture 0: waiting\n\n"}
    page = open_page(prepare=once(**answer))
    page.wait_for_selector("#model")
    page.press("#prompt", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("The connection was lost")


def test_an_answer_that_is_not_the_services_is_asked_for_again(open_page: Open) -> None:
    def prepare(page: Page) -> None:
        answer = {"content_type": "text/html", "body": "<p>Sign in"}
        page.route("**/v1/models", lambda route: route.fulfill(**answer), times=1)

    page = open_page(prepare=prepare)
    page.wait_for_selector("#model")
    expect(page.locator(".pulse")).to_have_text("Ready")


def test_a_refusal_of_what_was_changed_since_leaves_the_page_alone(open_page: Open) -> None:
    refusal = error(413, "prompt_too_long", "Too long.", "prompt")
    page = open_page(expected="413")
    page.locator(".more > summary").click()
    held: list[Route] = []
    page.route(GENERATIONS, lambda route: held.append(route), times=1)
    with page.expect_request(GENERATIONS):
        page.press("#prompt", "Enter")
    page.fill("#prompt", "an otter")
    page.focus("#seed")
    held[0].fulfill(**refusal)
    expect(page.get_by_role("alert")).to_contain_text("Too long.")
    assert page.evaluate("document.activeElement.id") == "seed"
    expect(page.locator("#prompt-problem")).to_be_empty()


def test_no_answer_is_told_and_asked_for_again(open_page: Open) -> None:
    page = open_page(expected="ERR_INTERNET_DISCONNECTED")
    page.wait_for_selector("#model")
    page.context.set_offline(True)
    expect(page.get_by_text("The service cannot be reached.")).to_be_visible()
    expect(page.locator(".pulse")).to_have_text("No answer")
    page.context.set_offline(False)
    expect(page.locator(".pulse")).to_have_text("Ready")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_models_that_start_are_told_until_they_run(open_page: Open) -> None:
    states = {"stabilityai/stable-diffusion-xl-base-1.0": "deploying"}

    def prepare(page: Page) -> None:
        answer = {"status": 503, "json": {"status": "not ready", "models": states}}
        page.route("**/readyz", lambda route: route.fulfill(**answer))

    page = open_page(expected="503", prepare=prepare)
    expect(page.get_by_text("Stable Diffusion XL base 1.0 is not ready yet.")).to_be_visible()
    expect(page.locator(".badge")).to_have_text("deploying")
    page.unroute("**/readyz")
    expect(page.locator(".pulse")).to_have_text("Ready")
    expect(page.get_by_text("is not ready yet")).to_have_count(0)
