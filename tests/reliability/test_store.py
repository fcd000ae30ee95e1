"""A picture store that fails under the running service: base64 goes on, and links cost no work that is lost."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx
import pytest

from serve_app.images.breaker import GOOD_SECONDS
from tests.reliability.conftest import SECONDS, FakeService
from tests.reliability.ledger import PATH, Ledger, share_of_pictures

pytestmark = pytest.mark.anyio

TRUSTED_SECONDS = GOOD_SECONDS + 0.5  # after them it is looked at
WORK = "!slow=1"  # of 8 s, which nobody must wait for who is refused


async def ask(client: httpx.AsyncClient, prompt: str, **fields: Any) -> httpx.Response:
    body = {"prompt": prompt, "size": "64x64", "num_steps": 8, **fields}
    return await client.post(PATH, json=body, timeout=60)


async def link(client: httpx.AsyncClient, prompt: str) -> str:
    """As soon as there are any: each replica of the ingress finds by itself that the store works again."""
    with anyio.fail_after(SECONDS):
        while (answer := await ask(client, prompt)).status_code == 503:
            await asyncio.sleep(0.5)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["data"][0]["url"]
    return found


@contextmanager
def unreachable(service: FakeService) -> Iterator[None]:
    """A file in the place of the folder."""
    away = service.pictures.with_name("away")
    service.pictures.rename(away)
    service.pictures.touch()
    try:
        yield
    finally:
        service.pictures.unlink()
        away.rename(service.pictures)


@contextmanager
def full(service: FakeService) -> Iterator[None]:
    """A disk of a megabyte in its place."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(service.pictures)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a disk of its own needs root and the right to mount: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(service.pictures)], check=True)


@pytest.mark.parametrize("failing", [unreachable, full])
async def test_links_are_refused_before_the_work_and_base64_goes_on(
    service: FakeService, client: httpx.AsyncClient, ledger: Ledger, failing: Any
) -> None:
    kept = await link(client, "before")
    with failing(service):
        await asyncio.sleep(TRUSTED_SECONDS)
        began = asyncio.get_running_loop().time()
        for number in range(6):  # at both replicas of the ingress
            refused = await ask(client, f"link {number} {WORK}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "image_store_unavailable")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert asyncio.get_running_loop().time() - began < 6  # less than one of them would have been painted in
        assert share_of_pictures(await ledger.ask_many(10)) == 1
        both = await client.post(f"/openai{PATH}", json={"prompt": "both", "size": "64x64"}, timeout=60)
        assert both.status_code == 200
        assert both.json()["data"][0].keys() >= {"b64_json", "seed"}
        assert "url" not in both.json()["data"][0]
    assert (await client.get(kept)).status_code == 200
    assert (await client.get(await link(client, "after"))).headers["content-type"] == "image/png"
