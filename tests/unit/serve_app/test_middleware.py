from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from deployments.errors import EaselError
from serve_app.middleware import SANE_REQUEST_ID, BodyLimit, RequestId, RequestLog, UnhandledErrors, request_id, stack

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import Refused

pytestmark = pytest.mark.anyio

LIMIT = 100


async def echo(request: Request) -> Response:
    return PlainTextResponse(f"{request_id(request.scope)} {len(await request.body())}")


async def own_id(_: Request) -> Response:
    return PlainTextResponse("", headers={"X-Request-ID": "of the route"})


async def breaks(_: Request) -> Response:
    raise RuntimeError("secret")


async def breaks_halfway(_: Request) -> Response:
    async def chunks() -> AsyncIterator[str]:
        yield "half"
        raise RuntimeError("secret")

    return StreamingResponse(chunks())


async def sleeps(_: Request) -> Response:
    await anyio.sleep_forever()
    raise AssertionError


@pytest.fixture
async def client(anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    routes = [
        Route("/echo{rest:path}", echo, methods=["GET", "POST"]),
        *(Route(f"/{handler.__name__}", handler) for handler in (own_id, breaks, breaks_halfway, sleeps)),
    ]
    transport = httpx.ASGITransport(
        Starlette(routes=routes, middleware=stack(LIMIT, behind_serve=False)), raise_app_exceptions=False
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://easel.test") as opened:
        yield opened


def test_order_is_as_documented() -> None:
    classes: list[object] = [entry.cls for entry in stack(LIMIT, behind_serve=False)]
    assert classes == [RequestId, RequestLog, UnhandledErrors, BodyLimit]


@pytest.mark.parametrize("proposed", ["a", "req_123-ABC", "x" * 128, "!~"])
async def test_sane_request_id_is_taken(proposed: str, client: httpx.AsyncClient) -> None:
    response = await client.get("/echo", headers={"X-Request-Id": proposed})
    assert response.headers.get_list("x-request-id") == [proposed]
    assert response.text == f"{proposed} 0"


@pytest.mark.parametrize("proposed", [b"", b"x" * 129, b"a b", b"caf\xe9", b"a\x7f", b"a\tb", b"a\x1b[31m"])
async def test_other_request_id_is_replaced(proposed: bytes, client: httpx.AsyncClient) -> None:
    response = await client.get("/echo", headers={b"x-request-id": proposed})
    (sent,) = response.headers.get_list("x-request-id")
    assert sent != proposed.decode("latin-1")
    assert response.text == f"{sent} 0"


@given(st.binary(max_size=140) | st.text(st.characters(codec="ascii")).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it keeps nothing
async def test_whatever_is_proposed_the_id_is_sane(client: httpx.AsyncClient, proposed: bytes) -> None:
    response = await client.get("/echo", headers={b"x-request-id": proposed})
    (sent,) = response.headers.get_list("x-request-id")
    assert SANE_REQUEST_ID.fullmatch(sent)
    is_sane = 1 <= len(proposed) <= 128 and all(0x21 <= byte <= 0x7E for byte in proposed)
    assert (sent.encode() == proposed) is is_sane


async def test_request_ids_differ(client: httpx.AsyncClient) -> None:
    sent = {(await client.get("/echo")).headers["x-request-id"] for _ in range(10)}
    assert len(sent) == 10


@pytest.mark.parametrize("path", ["/echo", "/own_id", "/breaks", "/breaks_halfway", "/nowhere"])
async def test_request_id_is_sent_exactly_once(path: str, client: httpx.AsyncClient) -> None:
    response = await client.get(path, headers={"x-request-id": "mine"})
    assert response.headers.get_list("x-request-id") == ["mine"]


async def test_behind_serve_only_its_proxy_sends_the_id_back() -> None:
    app = Starlette(routes=[Route("/echo", echo)], middleware=stack(LIMIT, behind_serve=True))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://easel.test") as client:
        response = await client.get("/echo", headers={"x-request-id": "mine"})
    assert "x-request-id" not in response.headers
    assert response.text == "mine 0"


async def test_unhandled_error_is_answered_and_logged(
    client: httpx.AsyncClient, refused: Refused, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "serve_app.middleware"):
        response = await client.get("/breaks", headers={"x-request-id": "mine"})
    assert "secret" not in refused(response, 500, code="internal_error")
    assert "Request mine failed" in caplog.text
    assert "in breaks\n" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text.replace('raise RuntimeError("secret")', "")


async def test_error_after_the_start_of_an_answer_cuts_it(client: httpx.AsyncClient) -> None:
    transport = httpx.ASGITransport(
        Starlette(routes=[Route("/", breaks_halfway)], middleware=stack(LIMIT, behind_serve=False))
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://easel.test") as strict:
        with pytest.raises(EaselError) as raised:
            await strict.get("/")
    assert "secret" not in "".join(traceback.format_exception(raised.value)).replace('RuntimeError("secret")', "")


async def chunked(size: int) -> AsyncIterator[bytes]:
    for _ in range(size):
        yield b"x"


@pytest.mark.parametrize(("size", "status"), [(0, 200), (LIMIT, 200), (LIMIT + 1, 413)])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_body_is_limited_to_the_byte(size: int, status: int, announced: bool, client: httpx.AsyncClient) -> None:
    response = await client.post("/echo", content=b"x" * size if announced else chunked(size))
    assert ("content-length" in response.request.headers) is announced
    assert response.status_code == status


async def test_announced_body_is_refused_before_it_is_read() -> None:
    async def receive() -> Message:
        raise AssertionError("the body was read")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    app = Starlette(routes=[Route("/echo", echo, methods=["POST"])], middleware=stack(LIMIT, behind_serve=False))
    headers = [(b"content-length", b"101")]
    await app({"type": "http", "method": "POST", "path": "/echo", "headers": headers}, receive, send)
    assert sent[0]["status"] == 413


async def test_lifespan_passes_through() -> None:
    started = False

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal started
        started = True
        yield

    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        assert message["type"] in ("lifespan.startup.complete", "lifespan.shutdown.complete")

    await Starlette(lifespan=lifespan, middleware=stack(LIMIT, behind_serve=False))(
        {"type": "lifespan", "state": {}}, receive, send
    )
    assert started
