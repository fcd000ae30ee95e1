"""The page's files over HTTP: what they are, what a browser may do with them, and that they hide no other route."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from serve_app.playground.routes import STATIC

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import Refused

pytestmark = pytest.mark.anyio

TYPES = {
    ".html": {"text/html"},
    ".css": {"text/css"},
    ".js": {"text/javascript", "application/javascript"},
    ".svg": {"image/svg+xml"},
}
FILES = sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.suffix in TYPES)


async def test_the_page(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Easel</title>" in page.text
    head = await client.head("/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == page.headers["content-length"]


@pytest.mark.parametrize("path", FILES)
async def test_every_file_has_its_type_and_the_same_policy(path: str, client: httpx.AsyncClient) -> None:
    response = await client.get(f"/playground/{path}")
    assert response.status_code == 200
    assert response.content == (STATIC / path).read_bytes()
    assert response.headers["content-type"].partition(";")[0] in TYPES[(STATIC / path).suffix]
    policy = dict(rule.split(" ", 1) for rule in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert {source for rule in policy.values() for source in rule.split()} == {"'none'", "'self'", "blob:", "data:"}
    assert "blob:" not in policy["script-src"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


async def test_a_copy_is_used_again_only_while_it_is_the_same(client: httpx.AsyncClient) -> None:
    first = await client.get("/playground/scripts/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/playground/scripts/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.get("/playground/scripts/app.js", headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "path", ["/playground/missing.js", "/playground/", "/playground/scripts", "/playground", "/missing"]
)
async def test_what_is_no_file_is_the_usual_error(path: str, client: httpx.AsyncClient, refused: Refused) -> None:
    refused(await client.get(path), 404, code="not_found")


@pytest.mark.parametrize(
    "path", ["..%2froutes.py", "%2e%2e/routes.py", "scripts/..%2f..%2f..%2froutes.py", "%2fetc/passwd", "%00"]
)
async def test_nothing_beside_the_files_is_served(path: str, client: httpx.AsyncClient, refused: Refused) -> None:
    refused(await client.get(f"/playground/{path}"), 404, code="not_found")


async def test_below_a_path(app: FastAPI) -> None:
    below = httpx.ASGITransport(Starlette(routes=[Mount("/below", app)]))
    async with httpx.AsyncClient(transport=below, base_url="http://easel.test/below/") as client:
        page = await client.get("")
        (script,) = re.findall(r'<script type="module" src="([^"]+)"', page.text)
        assert (await client.get(script)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/playground/scripts/app.js"])
async def test_the_files_are_read_alone(path: str, client: httpx.AsyncClient, refused: Refused) -> None:
    response = await client.post(path)
    refused(response, 405, code="method_not_allowed")
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_the_page_is_no_part_of_the_documented_api(app: FastAPI) -> None:
    assert not [path for path in app.openapi()["paths"] if path == "/" or path.startswith("/playground")]


@pytest.mark.parametrize("path", FILES)
def test_every_address_is_relative_and_there(path: str) -> None:
    """So that the page also works below a path, and asks no other origin."""
    text = (STATIC / path).read_text()
    if path.startswith("vendor/"):
        return
    assert not re.findall(r"""(?:src|href)=["']/|url\(["']?/|@import|https?://(?!www\.w3\.org/)""", text)
    assert not re.findall(r"\son[a-z]+=\"|<style|\sstyle=\"|\beval\(|innerHTML", text)
    for name in re.findall(r"""(?:from|import) ["'](\.[^"']+)["']""", text):
        assert (STATIC / path).parent.joinpath(name).is_file(), name
    for name in re.findall(r"""["']playground/([\w./-]+)""", text):
        assert (STATIC / name).is_file(), name


def test_every_icon_that_is_asked_for_is_drawn() -> None:
    drawn = set(re.findall(r'id="([a-z]+)"', (STATIC / "icons.svg").read_text()))
    scripts = "".join(path.read_text() for path in (STATIC / "scripts").rglob("*.js"))
    asked = set(re.findall(r'(?:\bicon=|\bicon: |Icon} name=)"([a-z]+)"', scripts))
    assert asked <= drawn
    assert len(asked) > 15
