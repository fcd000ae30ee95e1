"""Clients that are slow, huge or broken, through Serve's own proxy: cut off, with nobody else noticing."""

from __future__ import annotations

import asyncio
import json
import re
import time

import anyio
import httpx
import pytest

from tests.reliability.conftest import FakeService, steady_load
from tests.reliability.ledger import PATH, Ledger

pytestmark = pytest.mark.anyio

CLIENTS = 50


async def trickle(service: FakeService, gap_seconds: float) -> tuple[bytes, bytes, float]:
    """A request whose body comes a byte at a time; head and body of the answer, and after how many seconds.

    It is read as far as it says that it goes. After it comes no end of file but a reset: whoever writes to a connection
    that the other side has closed gets one.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = f"POST {PATH} HTTP/1.1\r\nhost: easel\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n"
    writer.write(head.encode())
    began = time.monotonic()

    async def go_on() -> None:
        while True:
            writer.write(b" ")
            await asyncio.sleep(gap_seconds)

    writing = asyncio.create_task(go_on())
    try:
        with anyio.fail_after(60):
            answered = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answered.lower())
            assert length is not None, answered
            return answered, await reader.readexactly(int(length[1])), time.monotonic() - began
    finally:
        writing.cancel()
        writer.close()


async def test_slow_bodies_are_cut_off(service: FakeService, ledger: Ledger) -> None:
    async with steady_load(ledger, per_second=5):
        answers = await asyncio.gather(*(trickle(service, 0.2) for _ in range(CLIENTS)))
    for head, body, seconds in answers:
        assert head.startswith(b"HTTP/1.1 400 "), head
        assert b"connection: close" in head.lower(), head
        assert json.loads(body)["error"]["code"] == "body_timeout"
        assert seconds < 30
    ledger.assert_nothing_lost()


async def test_a_hostile_picture_is_refused_within_seconds(client: httpx.AsyncClient, ledger: Ledger) -> None:
    bomb = bytes.fromhex("89504e470d0a1a0a0000000d4948445200007530000075300802000000") + b"\0" * 64  # 30000x30000
    async with steady_load(ledger, per_second=5):
        for content in (bomb, b"%!PS-Adobe-3.0 EPSF-3.0", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n"):
            answer = await client.post(
                "/v1/images/edits", data={"prompt": "otter"}, files={"image": ("a.png", content, "image/png")}
            )
            assert answer.status_code in (413, 415), answer.text
            assert answer.json()["error"]["param"] == "image"
    ledger.assert_nothing_lost()


async def test_headers_without_end_are_refused_by_the_proxy_itself(service: FakeService, ledger: Ledger) -> None:
    """Before any of our code runs."""
    async with steady_load(ledger, per_second=5):
        for filler in (b"x-many: a\r\n", b"a" * 1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: easel\r\nx-long: ")
            sent = 0
            while sent < 2**26 and not reader.at_eof():
                writer.write(filler * 100)
                sent += len(filler) * 100
                try:
                    await writer.drain()
                except ConnectionError:
                    break
                await asyncio.sleep(0)
            assert sent < 2**25  # sockets buffer some
            writer.close()
    ledger.assert_nothing_lost()
