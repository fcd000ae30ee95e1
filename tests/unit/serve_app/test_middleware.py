from __future__ import annotations

import json
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from deployments.errors import EaselError
from serve_app.middleware import (
    LEAST_BYTES_PER_SECOND,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    SANE_REQUEST_ID,
    BodyLimit,
    BodyTimeout,
    HeadLimit,
    RequestId,
    RequestLog,
    UnhandledErrors,
    request_id,
    stack,
)

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
        Starlette(routes=routes, middleware=stack(LIMIT, 30, behind_serve=False)), raise_app_exceptions=False
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://easel.test") as opened:
        yield opened


def test_order_is_as_documented() -> None:
    classes: list[object] = [entry.cls for entry in stack(LIMIT, 30, behind_serve=False)]
    assert classes == [RequestId, RequestLog, UnhandledErrors, HeadLimit, BodyTimeout, BodyLimit]


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
    app = Starlette(routes=[Route("/echo", echo)], middleware=stack(LIMIT, 30, behind_serve=True))
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
        Starlette(routes=[Route("/", breaks_halfway)], middleware=stack(LIMIT, 30, behind_serve=False))
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


async def send_raw(client: httpx.AsyncClient, url: str, headers: dict[str, str]) -> httpx.Response:
    """With an address as it is: httpx's own URLs have limits."""
    path, _, query = url.partition("?")
    request = client.build_request("GET", "/echo", headers=headers)
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        messages.append(message)

    await client._transport.app(scope, receive, send)  # type: ignore[attr-defined]
    return httpx.Response(messages[0]["status"], headers=messages[0]["headers"], content=messages[1]["body"])


async def test_announced_body_is_refused_before_it_is_read() -> None:
    async def receive() -> Message:
        raise AssertionError("the body was read")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    app = Starlette(routes=[Route("/echo", echo, methods=["POST"])], middleware=stack(LIMIT, 30, behind_serve=False))
    headers = [(b"content-length", b"101")]
    await app({"type": "http", "method": "POST", "path": "/echo", "headers": headers}, receive, send)
    assert sent[0]["status"] == 413


class TestHead:
    """What the address and the headers may hold together; the client adds headers of its own."""

    @pytest.mark.parametrize(("count", "status"), [(MAX_HEADERS, 200), (MAX_HEADERS + 1, 431), (5000, 431)])
    async def test_has_so_many_headers(self, count: int, status: int, client: httpx.AsyncClient) -> None:
        own = len(client.build_request("GET", "/echo").headers)
        response = await client.get("/echo", headers=[(f"x-{index}", "") for index in range(count - own)])
        assert response.status_code == status

    @pytest.mark.parametrize("part", ["value", "name", "path", "query"])
    @pytest.mark.parametrize(("beyond", "status"), [(0, 200), (1, 431), (10**6, 431)])
    async def test_is_so_large(
        self, part: str, beyond: int, status: int, client: httpx.AsyncClient, refused: Refused
    ) -> None:
        own = sum(len(name) + len(value) for name, value in client.build_request("GET", "/echo").headers.raw)
        text = "a" * (MAX_HEAD_BYTES - own - len("/echo") + beyond)
        headers = {"value": {"a": text[1:]}, "name": {text: ""}}.get(part, {})
        url = {"path": f"/echo{text}", "query": f"/echo?{text}"}.get(part, "/echo")
        response = await send_raw(client, url, headers)
        if status == 200:
            assert response.status_code == 200
        else:
            assert str(MAX_HEAD_BYTES) in refused(response, 431, code="headers_too_large")


class Client:
    """Sends the body that a test describes: bytes, and seconds of silence. Notes what becomes of the request."""

    def __init__(self, *script: bytes | float) -> None:
        self.script = list(script)
        self.sent: list[Message] = []
        self.reader_ended = False

    async def receive(self) -> Message:
        while self.script and isinstance(self.script[0], float):
            await anyio.sleep(self.script.pop(0))
        if not self.script:
            await anyio.sleep_forever()
        body = self.script.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(self.script)}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def post(self, handler: Any, seconds: float) -> int:
        async def watched(request: Request) -> Response:
            try:
                return await handler(request)
            finally:
                self.reader_ended = True

        app = Starlette(
            routes=[Route("/", watched, methods=["POST"])], middleware=stack(10**7, seconds, behind_serve=False)
        )
        await app({"type": "http", "method": "POST", "path": "/", "headers": []}, self.receive, self.send)
        status: int = self.sent[0]["status"]
        return status


FOR_EVER = 10_000.0
SOON = 0.05  # seconds


async def thinks_then_reads(request: Request) -> Response:
    await anyio.sleep(3 * SOON)
    await request.body()
    await anyio.sleep(3 * SOON)
    return PlainTextResponse("")


class HalfAnswer(Response):
    """Begins, then reads the body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await Request(scope, receive).body()
        raise AssertionError


async def answers_then_reads(_: Request) -> Response:
    return HalfAnswer()


async def reads_then_listens(request: Request) -> Response:
    await request.body()
    with anyio.move_on_after(3 * SOON):
        await request.receive()
    return PlainTextResponse("")


class TestBodyTimeout:
    @pytest.mark.parametrize("script", [(FOR_EVER, b"a"), (b"a", FOR_EVER, b"b"), tuple([b"a", 0.001] * 10**6)])
    async def test_who_stalls_or_trickles_is_cut_off(self, script: tuple[bytes | float, ...]) -> None:
        client = Client(*script)
        assert await client.post(echo, SOON) == 400
        assert client.reader_ended
        headers = dict(client.sent[0]["headers"])
        assert headers[b"connection"] == b"close"
        assert json.loads(client.sent[1]["body"])["error"] == {
            "message": "The body took too long to come.",
            "type": "invalid_request_error",
            "param": None,
            "code": "body_timeout",
        }
        assert [message["type"] for message in client.sent] == ["http.response.start", "http.response.body"]

    async def test_who_sends_much_has_longer(self) -> None:
        much = bytes(60 * LEAST_BYTES_PER_SECOND)
        assert await Client(much, 3 * SOON, b"b").post(echo, SOON) == 200

    async def test_only_waiting_for_the_client_counts(self) -> None:
        assert await Client(b"a", b"b").post(thinks_then_reads, SOON) == 200
        assert await Client(b"").post(thinks_then_reads, SOON) == 200

    async def test_who_stays_to_the_end_is_not_cut_off(self) -> None:
        assert await Client(b"a", b"b").post(reads_then_listens, SOON) == 200

    async def test_of_a_route_that_reads_nothing_is_no_matter(self) -> None:
        assert await Client(FOR_EVER, b"").post(own_id, SOON) == 200

    async def test_an_answer_that_has_begun_is_cut(self) -> None:
        client = Client(b"a", FOR_EVER, b"b")
        assert await client.post(answers_then_reads, SOON) == 200
        assert client.sent[-1] == {"type": "http.response.body", "body": b"half", "more_body": True}

    async def test_files_of_a_form_are_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        files: list[Any] = []

        def noted(*arguments: Any, **options: Any) -> Any:
            files.append(SpooledTemporaryFile(*arguments, **options))  # noqa: SIM115
            return files[-1]

        monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", noted)

        async def reads_form(request: Request) -> Response:
            request.scope["headers"] = [(b"content-type", b"multipart/form-data; boundary=x")]
            async with Request(request.scope, request.receive).form():
                raise AssertionError

        head = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
        assert await Client(head + b"a", FOR_EVER, b"b").post(reads_form, SOON) == 400
        (file,) = files
        assert file.closed


async def test_a_client_that_leaves_amid_its_body_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    messages = iter([{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        raise AssertionError("nobody is there")

    app = Starlette(routes=[Route("/", echo, methods=["POST"])], middleware=stack(LIMIT, 30, behind_serve=False))
    await app({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)
    assert caplog.text == ""


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

    await Starlette(lifespan=lifespan, middleware=stack(LIMIT, 30, behind_serve=False))(
        {"type": "lifespan", "state": {}}, receive, send
    )
    assert started
