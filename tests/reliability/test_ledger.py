"""The ledger itself: a server that answers well passes, and whatever goes wrong with one answer in many is caught."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.reliability.fake_family import DIGEST_BYTES, digest_of
from tests.reliability.ledger import PATH, Ledger, Outcome

pytestmark = pytest.mark.anyio

Change = Callable[[Response, Response], Response]


def picture_for(body: dict[str, Any]) -> bytes:
    width, height = map(int, body["size"].split("x"))
    pixels = np.zeros((height, width, 3), np.uint8)
    digest = digest_of(body["prompt"], "", width, height, body["seed"], body["num_steps"], body["guidance_scale"])
    pixels[0, :DIGEST_BYTES, 0] = list(digest)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def server(change: Change | None = None) -> Starlette:
    """Answers every request with its picture, but the eighth, which `change` makes of its own answer and the last."""
    answers: list[Response] = []

    async def generations(request: Request) -> Response:
        body = await request.json()
        data = [{"b64_json": base64.b64encode(picture_for(body)).decode()}]
        answers.append(JSONResponse({"data": data}, headers={"x-request-id": "r"}))
        return change(answers[-1], answers[-2]) if change and len(answers) == 8 else answers[-1]

    return Starlette(routes=[Route(PATH, generations, methods=["POST"])])


class Lost(Response):
    """An answer that never comes."""

    async def __call__(self, *_: Any) -> None:
        await asyncio.sleep(60)


class Cut(Response):
    """A connection that ends before the answer does."""

    async def __call__(self, *_: Any) -> None:
        raise httpx.RemoteProtocolError("cut")


def error(status: int, **headers: str) -> Response:
    detail = {"message": "no", "type": "server_error", "param": None, "code": "none"}
    return JSONResponse({"error": detail}, status, {"x-request-id": "r", **headers})


def half(own: Response, _: Response) -> Response:
    return Response(own.body[: len(own.body) // 2], media_type="application/json")


def half_a_picture(own: Response, _: Response) -> Response:
    return JSONResponse({"data": [{"b64_json": base64.b64encode(b"\x89PNG\r\n\x1a\n half").decode()}]})


async def kept_by(app: Starlette) -> AsyncIterator[Ledger]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://easel.test") as client:
        ledger = Ledger(client, patience=2)
        for _ in range(20):
            await ledger.ask()
        yield ledger


async def test_an_honest_server_passes() -> None:
    async for ledger in kept_by(server()):
        ledger.assert_nothing_lost()
        assert ledger.outcomes() == {"PICTURE": 20}


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        pytest.param(lambda own, other: other, Outcome.WRONG, id="swapped"),
        pytest.param(lambda own, other: Lost(), Outcome.HUNG, id="dropped"),
        pytest.param(lambda own, other: Cut(), Outcome.CUT, id="cut"),
        pytest.param(half, Outcome.WRONG, id="half an answer"),
        pytest.param(half_a_picture, Outcome.WRONG, id="half a picture"),
        pytest.param(lambda own, other: JSONResponse({"data": []}), Outcome.WRONG, id="no picture"),
        pytest.param(lambda own, other: Response("Internal Server Error", 500), Outcome.WRONG, id="no envelope"),
        pytest.param(lambda own, other: error(503), Outcome.WRONG, id="no Retry-After"),
        pytest.param(lambda own, other: error(503, **{"retry-after": "600"}), Outcome.WRONG, id="too long to wait"),
        pytest.param(lambda own, other: error(503, **{"retry-after": "5"}), Outcome.REFUSED, id="refused"),
        pytest.param(lambda own, other: error(500), Outcome.FAILED, id="failed"),
    ],
)
async def test_one_wrong_answer_in_twenty_is_caught(change: Change, outcome: Outcome) -> None:
    async for ledger in kept_by(server(change)):
        assert [entry.number for entry in ledger.entries if entry.outcome is outcome] == [7]
        assert ledger.outcomes()["PICTURE"] == 19
        with pytest.raises(AssertionError, match=rf"1 of 20:\n#7 {outcome.name}"):
            ledger.assert_nothing_lost()
        ledger.assert_nothing_lost(outcome)
