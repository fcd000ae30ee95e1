"""The playground's elements on a page of their own, in a real browser, without the service: what their tests share.

The page is served as the service would serve it: nothing but files of this origin, no script or style within markup.
"""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.loopback import serving

ROOT = Path(__file__).parents[2]
ELEMENTS = ROOT / "serve_app" / "playground" / "static" / "elements"
AXE = ROOT / "tests" / "clients" / "javascript" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium")

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Elements</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="elements.css">
<link rel="stylesheet" href="mask_editor.css">
<link rel="stylesheet" href="picture_compare.css">
<link rel="stylesheet" href="pose_editor.css">
<link rel="stylesheet" href="page.css">
<script type="module" src="{file}.js"></script>
<main><h1>Elements</h1><{name}></{name}></main>
"""
STYLE = ":root { color-scheme: light dark } body { background: Canvas; font-family: sans-serif; margin: 8px }"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:"


class Served(http.server.ThreadingHTTPServer):
    """An element on its page. Whoever posts is told `answer`, with `status`; `asked` has the path, headers and body."""

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(ELEMENTS)))
        self.page = PAGE.format(name=name, file=name.replace("-", "_"))
        self.status = 200
        self.answer: Any = None
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def refuse(self, status: int, code: str, message: str) -> None:
        self.status, self.answer = status, {"error": {"message": message, "type": "", "param": None, "code": code}}


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: Served

    def do_GET(self) -> None:
        own = {"/": ("text/html", self.server.page), "/page.css": ("text/css", STYLE)}
        if self.path in own:
            self._say(200, own[self.path][0], own[self.path][1].encode())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, dict(self.headers), body))
        self._say(self.server.status, "application/json", json.dumps(self.server.answer).encode())

    def _say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(name: str) -> Iterator[Served]:
    """For as long as it is served."""
    server = Served(name)
    with serving(server):
        yield server


@contextmanager
def started() -> Iterator[Any]:
    """Chromium, without a window; skips the test where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def page_of(browser: Any, address: str, *, expected: str = "(?!)", **options: Any) -> Iterator[Any]:
    """The page; whatever its scripts raise, or the browser refuses them and is not `expected`, fails the test."""
    context = browser.new_context(**{"viewport": {"width": 900, "height": 800}, **options})
    page = context.new_page()
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("console", lambda message: mistakes.append(message.text) if message.type in {"error", "warning"} else None)
    page.goto(address)  # and its modules have run
    yield page
    context.close()
    assert [mistake for mistake in mistakes if not re.search(expected, mistake)] == []


def violations(page: Any, element: str) -> list[str]:
    """What axe finds wrong with an element, for people who see, hear or point otherwise."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make install-clients")
    page.evaluate(AXE.read_text())  # as the page's own scripts could not: the policy is for those
    found = page.evaluate("element => axe.run(element, { resultTypes: ['violations'] })", element)["violations"]
    return [f"{rule['id']}: {[node['html'] for node in rule['nodes']]}" for rule in found]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of which no two pixels are alike, but by chance."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def file_of(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
