"""What Serve's proxy says by itself, put into our own shape; the rest passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.proxy import middlewares

pytestmark = pytest.mark.anyio

Refused = Callable[..., str]


def answering(status: int, kind: str, body: bytes, **headers: str) -> ASGIApp:
    """What is behind the middleware, as Serve's proxy or a replica answers."""
    raw = [(b"content-type", kind.encode()), (b"x-request-id", b"an-id")]
    raw += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body[:2], "more_body": True})
        await send({"type": "http.response.body", "body": body[2:]})

    return app


async def answer_of(
    app: ASGIApp, path: str = "/v1/models", headers: Any = (("x-request-id", "an-id"),)
) -> httpx.Response:
    for middleware in middlewares():
        app = middleware.cls(app, *middleware.args, **middleware.kwargs)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://easel.test") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize("status", [404, 408, 500, 503])
async def test_errors_of_the_proxy_are_retryable_and_of_our_shape(status: int, refused: Refused) -> None:
    response = await answer_of(answering(status, "text/plain", b"Path '/v1/models' not found."))
    refused(response, 503, code="ingress_unavailable")
    assert response.headers["retry-after"] == "2"
    assert response.headers.get_list("x-request-id") == ["an-id"]


async def test_what_serve_says_of_when_to_ask_again_is_kept(refused: Refused) -> None:
    response = await answer_of(answering(503, "text/plain", b"full", retry_after="7"))
    refused(response, 503)
    assert response.headers["retry-after"] == "7"


async def dies(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("The actor died")


async def says_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """As Serve's proxy does."""


@pytest.mark.parametrize("app", [dies, says_nothing])
async def test_a_replica_that_died_is_a_retryable_error(app: ASGIApp, refused: Refused) -> None:
    response = await answer_of(app)
    refused(response, 503, code="ingress_unavailable")
    assert "actor" not in response.text


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (["an-id"], [b"an-id"]),
        ([], []),
        (["an-id", "another"], []),
        (["an id"], []),
        (["a\x1b[2Jb"], []),
        (["a\x85b"], []),
        (["a" * 129], []),
    ],
)
async def test_an_id_that_is_not_fit_for_a_log_does_not_reach_serve(sent: list[str], passed: list[bytes]) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(scope["headers"])
        await answering(200, "application/json", b"{}")(scope, receive, send)

    await answer_of(app, headers=[("X-Request-Id", each.encode("latin-1")) for each in sent] + [("Accept", b"*/*")])
    assert [value for name, value in seen if name == b"x-request-id"] == passed
    assert (b"accept", b"*/*") in seen


async def test_an_answer_that_had_begun_is_cut() -> None:
    async def dies_amid(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("The actor died")

    with pytest.raises(RuntimeError):
        await answer_of(dies_amid)


@pytest.mark.parametrize(
    ("status", "kind", "body", "path"),
    [
        (200, "image/png", b"picture", "/images/a.png"),
        (404, "application/json", b'{"error": {}}', "/v1/models/none"),
        (500, "application/json", b'{"error": {}}', "/v1/models"),
        (200, "text/plain", b"success", "/-/healthz"),
        (503, "text/plain", b"unhealthy", "/-/healthz"),
        (304, "text/plain", b"", "/docs"),
    ],
)
async def test_all_else_passes_unchanged(status: int, kind: str, body: bytes, path: str) -> None:
    response: Any = await answer_of(answering(status, kind, body), path)
    assert (response.status_code, response.headers["content-type"], response.content) == (status, kind, body)
