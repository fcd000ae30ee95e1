"""Clients who leave while Serve cancels what their request waits for: told of as gone, and not as our fault."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from ray.exceptions import ActorDiedError, RayTaskError, TaskCancelledError
from ray.serve._private.http_util import ASGIReceiveProxy
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from serve_app import ingress
from serve_app.middleware import stack
from serve_app.request_log import RequestRecord

pytestmark = pytest.mark.anyio

ROUTE = "/v1/images/generations"


async def read_twice(request: Request) -> Response:
    try:
        await request.body()
    finally:
        assert await request.receive() == {"type": "http.disconnect"}  # it does not wait for more
    raise AssertionError("there was no body")


async def stream(request: Request) -> Response:
    await request.body()

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0)

    return StreamingResponse(pieces())


async def ended(
    endpoint: Any, messages: list[Message], lost: Exception, monkeypatch: pytest.MonkeyPatch
) -> RequestRecord:
    """What is told of a request whose client sends these messages and leaves, over Serve's own `receive`."""
    records: list[RequestRecord] = []
    app = Starlette(
        routes=[Route(ROUTE, endpoint, methods=["POST"])],
        middleware=stack(2**20, 30, behind_serve=True, on_ended=records.append),
    )
    monkeypatch.setattr(ingress, "create_app", lambda service, *, behind_serve: app)
    ours: Any = ingress.Ingress.__mro__[1]  # within Serve's wrapper
    calls = iter([messages])

    async def of_the_proxy(_: object) -> bytes:
        for sent in calls:
            return pickle.dumps(sent)
        raise lost

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": ROUTE, "headers": [], "query_string": b"", "root_path": ""}
    receive = ASGIReceiveProxy(scope, None, of_the_proxy)  # type: ignore[arg-type]
    with anyio.fail_after(30):
        await receive.fetch_until_disconnect()
        await ours.__serve_build_asgi_app__(SimpleNamespace(_service=None))(scope, receive, send)
    (record,) = records
    return record


@pytest.mark.parametrize(
    "lost",
    [
        TaskCancelledError(),
        RayTaskError("receive_asgi_messages", "", TaskCancelledError()).as_instanceof_cause(),
        ActorDiedError(),
    ],
    ids=lambda lost: type(lost).__name__,
)
@pytest.mark.parametrize(
    ("endpoint", "messages"),
    [
        (read_twice, []),
        (read_twice, [{"type": "http.request", "body": b"half", "more_body": True}]),
        (stream, [{"type": "http.request", "body": b"whole"}]),
    ],
)
async def test_who_leaves_is_told_of_as_gone(
    endpoint: Any,
    messages: list[Message],
    lost: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        record = await ended(endpoint, messages, lost, monkeypatch)
    assert (record.outcome, record.error) == ("cancelled", None)
    assert caplog.records == []
