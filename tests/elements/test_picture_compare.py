"""<picture-compare> by mouse, touch and keys, and where each picture lies."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.elements.pages import file_of, page_of, served, to_base64, violations

RED, BLUE = (200, 0, 0), (0, 0, 200)
SHOW = """async ([before, after, options]) => {
  const element = document.querySelector("picture-compare");
  await element.show(`data:image/png;base64,${before}`, `data:image/png;base64,${after}`, "A square", options);
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served("picture-compare") as server:
        yield server.address


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    with page_of(chromium, address, viewport={"width": 500, "height": 500}, has_touch=True) as page:
        yield page


def show(page: Any, before: tuple[int, int], after: tuple[int, int], **options: Any) -> None:
    """A red picture, and a blue one after it, each of a size."""
    pictures = [to_base64(file_of(Image.new("RGB", size, fill))) for size, fill in ((before, RED), (after, BLUE))]
    page.evaluate(SHOW, [*pictures, options])


def seen(page: Any) -> Any:
    """What is shown, a row for each CSS pixel."""
    shot = Image.open(io.BytesIO(page.locator(".picture-compare__view").screenshot()))
    return np.asarray(shot.convert("RGB")).astype(int)


def red_columns(page: Any, row: float = 0.9) -> tuple[float, float]:
    """From where to where the earlier picture is seen, in fractions of the width."""
    pixels = seen(page)
    line = pixels[int(row * len(pixels))]
    columns = (np.abs(line - RED).sum(axis=-1) < 30).nonzero()[0]
    return columns[0] / len(line), (columns[-1] + 1) / len(line)


def range_of(page: Any) -> Any:
    return page.get_by_role("slider", name="How much of the picture is shown as it was before")


def test_half_of_each(page: Any) -> None:
    show(page, (100, 80), (100, 80))
    left, right = red_columns(page)
    assert left < 0.02
    assert abs(right - 0.5) < 0.02
    assert page.get_by_alt_text("A square").count() == 1


@pytest.mark.parametrize("by", ["mouse", "touch", "keys"])
def test_the_divider_moves(page: Any, by: str) -> None:
    show(page, (100, 80), (100, 80))
    box = page.locator(".picture-compare__view").bounding_box()
    x, y = box["x"] + box["width"] / 5, box["y"] + box["height"] / 2
    if by == "mouse":
        page.mouse.move(x + 100, y)
        page.mouse.down()
        page.mouse.move(x, y, steps=3)
        page.mouse.up()
        page.mouse.move(x + 200, y)  # and no farther once it is let go
    elif by == "touch":
        page.touchscreen.tap(x, y)
    else:
        range_of(page).press("Home")
        for _ in range(20):
            range_of(page).press("ArrowRight")
    assert abs(red_columns(page)[1] - 0.2) < 0.02
    assert range_of(page).get_attribute("aria-valuetext") == "20 % before"


def test_a_smaller_picture_lies_in_the_middle(page: Any) -> None:
    show(page, (100, 100), (200, 100))
    range_of(page).press("End")
    left, right = red_columns(page)
    assert (abs(left - 0.25) < 0.02, abs(right - 0.75) < 0.02) == (True, True)


def test_an_extended_picture_lies_where_it_was(page: Any) -> None:
    show(page, (100, 100), (400, 200), offset={"x": 0.5, "y": 0.5, "width": 0.25, "height": 0.5})
    range_of(page).press("End")
    left, right = red_columns(page)
    assert (abs(left - 0.5) < 0.02, abs(right - 0.75) < 0.02) == (True, True)
    rows = (np.abs(seen(page)[:, -150] - RED).sum(axis=-1) < 30).nonzero()[0]
    assert abs(rows[0] / len(seen(page)) - 0.5) < 0.02


def test_the_next_pair_begins_in_the_middle_again(page: Any) -> None:
    show(page, (100, 80), (100, 80))
    range_of(page).press("Home")
    show(page, (80, 100), (80, 100))
    assert abs(red_columns(page)[1] - 0.5) < 0.02
    box = page.locator(".picture-compare__view").bounding_box()
    assert abs(box["width"] / box["height"] - 0.8) < 0.01
    assert box["height"] <= 400.5  # of a page of 500: all is seen at once


def test_a_picture_that_cannot_be_loaded_is_told(page: Any) -> None:
    refusal = page.evaluate(
        "document.querySelector('picture-compare').show('data:,', 'data:,', '').catch((error) => error.message)"
    )
    assert "could not be loaded" in refusal


def test_accessibility(page: Any) -> None:
    show(page, (100, 80), (100, 80))
    assert violations(page, "picture-compare") == []
