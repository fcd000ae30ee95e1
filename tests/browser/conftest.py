"""The page in a real browser, against the running service. Every page is watched: it asks no other origin and logs no
error."""

from __future__ import annotations

import base64
import io
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

if TYPE_CHECKING:
    from tests.conftest import LiveService

CHROMIUM = shutil.which("chromium")
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
MILLISECONDS = 60_000  # for what takes a second or two: only a hang takes longer
PROMPT = "a red circle on a blue background"
EVERYWHERE = ["desktop", pytest.param("phone", marks=pytest.mark.long("a desktop is enough for most runs"))]

expect.set_options(timeout=MILLISECONDS)

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module: while Playwright runs, no other test may have an event loop in this thread."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


class Watch:
    """What a page has done wrong."""

    def __init__(self, origin: str) -> None:
        self.wrong: list[str] = []
        self.expected = re.compile("(?!)")  # of the console
        self._origin = origin

    def request(self, request: Request) -> None:
        if not request.url.startswith((self._origin, "blob:", "data:")):
            self.wrong.append(f"asked {request.url}")

    def console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not self.expected.search(message.text):
            self.wrong.append(message.text)


@pytest.fixture
def open_page(browser: Browser, service: LiveService) -> Iterator[Open]:
    """Opens the page in a browser that was never here: `open_page("phone", expected="429")`, where the console may
    tell of what matches `expected`."""
    watches: list[Watch] = []
    with ExitStack() as contexts:

        def open_one(
            where: str = "desktop",
            *,
            expected: str = "(?!)",
            prepare: Callable[[Page], None] = lambda page: None,
            size: tuple[int, int] | None = None,
            **options: Any,
        ) -> Page:
            width, height = size or SIZES[where]
            context = browser.new_context(
                viewport={"width": width, "height": height},
                has_touch=where == "phone",
                accept_downloads=True,
                **options,
            )
            contexts.callback(context.close)
            context.set_default_timeout(MILLISECONDS)
            page = context.new_page()
            watch = Watch(service.url)
            watch.expected = re.compile(expected)
            watches.append(watch)
            page.on("request", watch.request)
            page.on("console", watch.console)
            page.on("pageerror", lambda error: watch.wrong.append(str(error)))
            prepare(page)
            page.goto(f"{service.url}/")
            return page

        yield open_one
    assert [each for watch in watches for each in watch.wrong] == []


@pytest.fixture(params=EVERYWHERE)
def page(request: pytest.FixtureRequest, open_page: Open) -> Page:
    """On a desktop and on a phone."""
    opened = open_page(request.param)
    opened.wait_for_selector("#model")
    return opened


def make(page: Page, prompt: str = PROMPT, pictures: int = 1) -> None:
    """Has pictures made, and waits until they are there."""
    page.fill("#prompt", prompt)
    page.press("#prompt", "Enter")
    run = page.locator(".run").first
    expect(run.locator(".run-prompt")).to_have_text(prompt)
    expect(run.locator(".slot.is-done img")).to_have_count(pictures)


def wait_until_kept(page: Page, pictures: int) -> None:
    """In the browser's database: it is written after the page shows them, and a page that is left writes no more."""
    count = """async () => {
        const done = (request) => new Promise((resolve, reject) => {
            request.onsuccess = () => resolve(request.result);
            request.onerror = () => reject(request.error);
        });
        const database = await done(indexedDB.open("easel-playground"));
        try {
            return await done(database.transaction("pictures").objectStore("pictures").count());
        } finally {
            database.close();
        }
    }"""
    ends = time.monotonic() + MILLISECONDS / 1000
    while (kept := page.evaluate(count)) != pictures:
        assert time.monotonic() < ends, kept
        page.wait_for_timeout(50)


def sent(request: Request) -> dict[str, Any]:
    """The JSON of a request."""
    body: dict[str, Any] = request.post_data_json
    return body


def shown_picture(page: Page) -> Image.Image:
    """The one that is shown large."""
    data = page.locator(".viewer-picture img").evaluate(
        """async image => {
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = image.naturalWidth;
            canvas.height = image.naturalHeight;
            canvas.getContext("2d").drawImage(image, 0, 0);
            return canvas.toDataURL();
        }"""
    )
    return Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Somebody, 256x192."""
    from skimage.data import astronaut

    path = tmp_path / "photo.png"
    Image.fromarray(astronaut()).crop((0, 0, 512, 384)).resize((256, 192)).save(path)
    return path


@pytest.fixture
def uneven_photo(photo: Path, tmp_path: Path) -> Path:
    """The same, 250x187: no model makes such sides by themselves."""
    path = tmp_path / "uneven.png"
    with Image.open(photo) as image:
        image.resize((250, 187)).save(path)
    return path


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """A photo of somebody."""
    from skimage.data import astronaut

    path = tmp_path / "person.png"
    Image.fromarray(astronaut()).save(path)
    return path
