"""How the comparison of services checks and compares them."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import numpy as np
import pytest

from benchmarks.load import Measured, Order, orders
from benchmarks.services import PEERS, Service
from benchmarks.serving import ENGINE, Session, decoded, difference, over_http, ratios
from deployments.imaging.encode import encode

SERVICE = Service("stub", lambda port, folder: [])


def file_of(value: int) -> str:
    return base64.b64encode(encode(np.full((4, 4, 3), value, np.uint8), "png", 100)).decode()


def painting(value: int) -> Session:
    """A session in which a service has painted `value` everywhere."""
    session = Session({"alike": orders("alike", 4)}, clients=2)
    check(session, value)
    return session


def check(session: Session, value: int, together: int | None = None) -> None:
    sent = 0

    async def send(_: Order) -> str:
        nonlocal sent
        sent += 1
        return file_of(value if together is None or sent <= 4 else together)

    asyncio.run(session._check_pictures(SERVICE, send))


def test_pictures_may_be_as_far_apart_as_a_batch_rounds() -> None:
    check(painting(100), 102)


def test_another_picture_ends_the_run() -> None:
    with pytest.raises(SystemExit, match="stub paints another picture: 3 of 255 apart"):
        check(painting(100), 103)


def test_another_picture_in_a_batch_ends_the_run() -> None:
    with pytest.raises(SystemExit, match="30 of 255"):
        check(painting(100), 100, together=130)


def test_differences_do_not_wrap_around() -> None:
    assert difference(decoded(file_of(1)), decoded(file_of(254))) == 253


def test_ratios_are_easel_divided_by_each_peer() -> None:
    results = {
        ("mixed", "at once"): {
            "Easel": Measured((1.0, 1.0), seconds=1.0),
            "FastAPI": Measured((4.0, 4.0), seconds=4.0),
            ENGINE: Measured((0.9, 0.9), seconds=0.9),
        }
    }
    assert ratios(results) == {"mixed, at once": {"FastAPI": {"throughput": 4.0, "p95": 0.25}, "efficiency": 0.9}}


def test_a_picture_is_asked_for_as_the_service_wants_it() -> None:
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=[{"data": [{"b64_json": "abcd"}]}])

    (bentoml,) = (peer for peer in PEERS if peer.name.startswith("BentoML"))

    async def send() -> object:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return await over_http(bentoml, "http://service", client)({"seed": 7})

    assert asyncio.run(send()) == "abcd"
    assert bodies == [{"orders": [{"seed": 7}]}]


def test_a_refusal_ends_the_run() -> None:
    async def send() -> None:
        refusal = httpx.MockTransport(lambda _: httpx.Response(503, text="full"))
        async with httpx.AsyncClient(transport=refusal) as client:
            await over_http(SERVICE, "http://service", client)({"seed": 7})

    with pytest.raises(SystemExit, match="stub answered 503: full"):
        asyncio.run(send())
