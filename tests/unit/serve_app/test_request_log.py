"""What the log tells of each request: how it began and, once, how it ended."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from ray._common.formatters import JSONFormatter
from ray.serve import context
from ray.serve._private.logging_utils import (
    ServeComponentFilter,
    ServeContextFilter,
    ServeCoreContextFilter,
    ServeFormatter,
    ServeLogAttributeRemovalFilter,
    log_to_stderr_filter,
)

from deployments.errors import (
    DeadlineExceeded,
    EaselError,
    GenerationFailed,
    ModelUnavailable,
    Overloaded,
    ReplicaLost,
    StoreUnavailable,
)
from serve_app import middleware
from serve_app.asgi import create_app
from serve_app.auth import PRIORITY_HEADER
from serve_app.images.keeper import Keeper
from serve_app.images.routes import create_router
from serve_app.images.store import ImageStore
from serve_app.middleware import LOGGED_ROUTES
from serve_app.request_log import RequestRecord, current, recording
from tests.unit.serve_app.samples import data_url, photo
from tests.unit.serve_app.test_auth import KEY, KEYS

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend

pytestmark = pytest.mark.anyio

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
SMALL = {"prompt": "otter", "model": "small"}
URL = "/v1/images/generations"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/images/generations": {**SMALL, "size": "256x128", "n": 1},
    "/v1/images/edits": {**SMALL, "size": "256x128", "image": data_url(photo()), "n": 1},
    "/openai/v1/images/generations": {**SMALL, "size": "256x128", "seed": 1},
    "/openai/v1/images/edits": {**SMALL, "size": "256x128", "image": data_url(photo()), "seed": 1},
    "/api/v1/images/generation": {**SMALL, "width": 256, "height": 128, "seed": 1},
    "/sdapi/v1/txt2img": {**SMALL, "width": 256, "height": 128, "seed": 1},
}
STREAMS = [url for url in BODIES if "v1/images/" in url and not url.startswith("/api")]
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message"}

Records = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Records:
    """The fields of each record so far, but for those of every log record and those that are for Serve."""
    caplog.set_level(logging.INFO)

    def fields() -> list[dict[str, Any]]:
        ours = [vars(record) for record in caplog.records if record.name == "serve_app.request_log"]
        common = {*STANDARD, "skip_context_filter", "log_to_stderr"}
        return [{name: value for name, value in each.items() if name not in common} for each in ours]

    return fields


@pytest.fixture
def ended(records: Records) -> Callable[[], dict[str, Any]]:
    """The last record of the only request."""

    def last() -> dict[str, Any]:
        (record,) = [record for record in records() if record["event"] == "ended"]
        return record

    return last


Ended = Callable[[], dict[str, Any]]


class TestAnswered:
    @pytest.mark.parametrize("url", BODIES)
    async def test_is_told_in_every_dialect(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend, records: Records
    ) -> None:
        backend.durations = {1: (0.25, 1.5)}
        response = await client.post(url, json=BODIES[url], headers={"x-request-id": "mine"})
        accepted, ended = records()
        known = {"request_id": "mine", "model": "small", "size": "256x128", "pictures": 1}
        assert accepted == {"event": "accepted", **known}
        assert ended.pop("seconds") >= 0
        assert ended == {
            "event": "ended",
            **known,
            "route": url,
            "outcome": "answered",
            "status": 200,
            "steps": 4,
            "queue_seconds": 0.25,
            "compute_seconds": 1.5,
            "bytes_sent": len(response.content),
        }

    @pytest.mark.parametrize("url", STREAMS)
    async def test_is_told_of_a_stream_when_it_has_ended(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend, records: Records
    ) -> None:
        backend.durations = {1: (0.25, 1.5)}
        response = await client.post(url, json={**BODIES[url], "stream": True, "partial_images": 1})
        accepted, ended = records()
        assert accepted["request_id"] == ended["request_id"] == response.headers["x-request-id"]
        assert (ended["outcome"], ended["status"], ended["streamed"]) == ("answered", 200, True)
        assert (ended["steps"], ended["queue_seconds"], ended["compute_seconds"]) == (4, 0.25, 1.5)
        assert ended["bytes_sent"] == len(response.content)

    async def test_of_several_pictures_tells_the_longest_times(
        self, client: httpx.AsyncClient, backend: FakeBackend, ended: Ended
    ) -> None:
        backend.durations = {1: (0.5, 1.0), 2: (2.0, 0.12345), 3: (0.0, 3.0)}
        await client.post(URL, json={**BODIES[URL], "num_images": 3, "num_steps": 7})
        record = ended()
        assert (record["queue_seconds"], record["compute_seconds"]) == (2.0, 3.0)
        assert (record["pictures"], record["steps"]) == (3, 7)

    async def test_names_the_key_and_never_shows_it(
        self, client: httpx.AsyncClient, backend: FakeBackend, records: Records
    ) -> None:
        backend.current = backend.current.model_copy(update={"keys": KEYS})
        await client.post(URL, json=BODIES[URL], headers={"authorization": f"Bearer {KEY}"})
        assert [record["caller"] for record in records()] == ["first", "first"]
        assert KEY not in str(records())


REFUSALS: dict[str, tuple[dict[str, Any], int, str]] = {
    "field": ({"json": {**BODIES[URL], "size": "0x0"}}, 400, "invalid_value"),
    "size": ({"json": {**BODIES[URL], "size": "8x8"}}, 400, "invalid_value"),
    "model": ({"json": {**BODIES[URL], "model": "none"}}, 404, "model_not_found"),
    "text": ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "invalid_json"),
    "prompt": ({"json": {**BODIES[URL], "prompt": "x" * 4001}}, 413, "too_large"),
    "body": ({"content": b"x" * (25 * 2**20 + 1), "headers": {"content-type": "application/json"}}, 413, "too_large"),
    "priority": ({"json": BODIES[URL], "headers": {"easel-priority": "high"}}, 403, "priority_not_allowed"),
}


class TestRefused:
    @pytest.mark.parametrize("name", REFUSALS)
    async def test_is_told_with_its_code_and_was_not_accepted(
        self, name: str, client: httpx.AsyncClient, records: Records
    ) -> None:
        sent, status, code = REFUSALS[name]
        await client.post(URL, **sent)
        (record,) = records()
        assert (record["event"], record["outcome"]) == ("ended", "refused")
        assert (record["status"], record["error"], record["route"]) == (status, code, URL)
        assert record.keys() == {
            *("event", "request_id", "route", "outcome", "status", "error", "seconds", "bytes_sent"),
        }

    async def test_is_another_method(self, client: httpx.AsyncClient, ended: Ended) -> None:
        await client.get(URL)
        assert (ended()["outcome"], ended()["status"], ended()["error"]) == ("refused", 405, "method_not_allowed")

    async def test_is_one_for_a_link_that_could_not_be_made(
        self, client: httpx.AsyncClient, backend: FakeBackend, ended: Ended
    ) -> None:
        backend.links_refusal = StoreUnavailable("No.")
        await client.post(URL, json={**BODIES[URL], "response_format": "url"})
        assert (ended()["outcome"], ended()["error"]) == ("refused", "image_store_unavailable")

    async def test_is_one_without_a_key(self, client: httpx.AsyncClient, backend: FakeBackend, ended: Ended) -> None:
        backend.current = backend.current.model_copy(update={"keys": KEYS})
        await client.post(URL, json=BODIES[URL])
        assert (ended()["outcome"], ended()["status"], ended()["error"]) == ("refused", 401, "invalid_api_key")
        assert "caller" not in ended()

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("refusal", [Overloaded("Full."), ModelUnavailable("Loading.")])
    async def test_is_one_that_the_model_has_no_room_for(
        self, refusal: EaselError, stream: bool, client: httpx.AsyncClient, backend: FakeBackend, records: Records
    ) -> None:
        backend.failure = backend.refusal = refusal
        await client.post(URL, json={**BODIES[URL], "stream": stream})
        accepted, ended = records()
        assert accepted["event"] == "accepted"  # by the service
        assert (ended["outcome"], ended["status"], ended["error"]) == ("refused", 503, refusal.code)


class TestFailed:
    @pytest.mark.parametrize(
        ("failure", "status", "code"),
        [
            (GenerationFailed("No."), 500, "generation_failed"),
            (DeadlineExceeded("No."), 504, "deadline_exceeded"),
            (ReplicaLost("No."), 503, "replica_lost"),
            (ZeroDivisionError("no"), 500, "internal_error"),
        ],
    )
    @pytest.mark.parametrize("url", BODIES)
    async def test_is_told_with_its_code(
        self, url: str, failure: Exception, status: int, code: str, client: httpx.AsyncClient, backend: FakeBackend,
        ended: Ended,
    ) -> None:  # fmt: skip
        backend.failure = failure
        await client.post(url, json=BODIES[url])
        assert (ended()["outcome"], ended()["status"], ended()["error"]) == ("failed", status, code)
        assert ended()["model"] == "small"
        assert "compute_seconds" not in ended()

    async def test_is_one_whose_picture_could_not_be_kept(
        self, client: httpx.AsyncClient, backend: FakeBackend, ended: Ended
    ) -> None:
        backend.store_failure = StoreUnavailable("No.")
        await client.post(URL, json=BODIES[URL])
        assert (ended()["outcome"], ended()["error"]) == ("failed", "image_store_unavailable")
        assert ended()["compute_seconds"] == 0.1  # the model has done its part

    @pytest.mark.parametrize("failure", [Overloaded("Full."), ZeroDivisionError("no")])
    @pytest.mark.parametrize("url", STREAMS)
    async def test_is_a_stream_that_ends_with_an_error_though_its_status_was_sent(
        self, url: str, failure: Exception, client: httpx.AsyncClient, backend: FakeBackend, ended: Ended
    ) -> None:
        backend.failure = failure
        await client.post(url, json={**BODIES[url], "stream": True})
        assert (ended()["outcome"], ended()["status"]) == ("failed", 200)
        assert ended()["error"] == getattr(failure, "code", "internal_error")

    async def test_is_an_answer_that_breaks_off(self, ended: Ended) -> None:
        async def halves() -> AsyncIterator[str]:
            yield "half"
            raise RuntimeError

        app = FastAPI(middleware=middleware.stack(100, 30, behind_serve=False))
        app.get("/images/{name}")(lambda name: StreamingResponse(halves()))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://easel.test") as client:
            await client.get("/images/x.png")
        assert (ended()["outcome"], ended()["status"], ended()["error"]) == ("failed", 200, "internal_error")
        assert ended()["bytes_sent"] == len("half")


def scope(url: str = URL) -> dict[str, Any]:
    headers = [(b"content-type", b"application/json"), (b"host", b"easel.test"), (b"x-request-id", b"mine")]
    return {
        "type": "http",
        "method": "POST",
        "path": url,
        "headers": headers,
        "query_string": b"",
        "scheme": "http",
    }


class TestCancelled:
    """Over plain ASGI, where a client can leave."""

    async def test_is_one_whose_caller_left_before_the_answer(
        self, app: FastAPI, backend: FakeBackend, records: Records
    ) -> None:
        backend.failing_seed = 99  # the picture is never finished
        messages = [{"type": "http.request", "body": json.dumps(BODIES[URL]).encode()}]

        async def receive() -> dict[str, Any]:
            return messages.pop()

        async def send(_: object) -> None:
            raise AssertionError

        with anyio.fail_after(30):
            serving = asyncio.create_task(app(scope(), receive, send))  # type: ignore[arg-type]
            while not backend.requests:
                await asyncio.sleep(0)
            serving.cancel()  # as Serve does
            with pytest.raises(asyncio.CancelledError):
                await serving
        accepted, ended = records()
        assert (accepted["event"], accepted["request_id"], ended["request_id"]) == ("accepted", "mine", "mine")
        assert (ended["event"], ended["outcome"], ended["bytes_sent"]) == ("ended", "cancelled", 0)
        assert not ended.keys() & {"status", "error"}

    async def test_is_one_whose_caller_left_amid_a_stream(
        self, app: FastAPI, backend: FakeBackend, ended: Ended
    ) -> None:
        backend.failing_seed = 99
        begun = asyncio.Event()
        messages = [{"type": "http.request", "body": json.dumps({**BODIES[URL], "stream": True}).encode()}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await begun.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if b"step 4 of 4" in message.get("body", b""):
                begun.set()

        with anyio.fail_after(30):
            await app(scope(), receive, send)  # type: ignore[arg-type]
        assert (ended()["outcome"], ended()["status"], ended()["streamed"]) == ("cancelled", 200, True)
        assert ended()["bytes_sent"] > 0

    async def test_is_one_whose_caller_left_amid_the_request(
        self, app: FastAPI, ended: Ended, caplog: pytest.LogCaptureFixture
    ) -> None:
        messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> dict[str, Any]:
            return messages.pop()

        async def send(_: object) -> None:
            raise AssertionError

        await app(scope(), receive, send)  # type: ignore[arg-type]
        assert ended()["outcome"] == "cancelled"
        assert not ended().keys() & {"status", "error", "model"}
        assert [record for record in caplog.records if record.levelno > logging.INFO] == []


class TestRoutes:
    async def test_that_make_pictures_are_all_logged(self, app: FastAPI) -> None:
        def makes_pictures(operation: dict[str, Any]) -> bool:
            return any(parameter["name"] == PRIORITY_HEADER for parameter in operation.get("parameters", []))

        documented = app.openapi()["paths"].items()
        paths = {path for path, operations in documented if any(map(makes_pictures, operations.values()))}
        assert paths == BODIES.keys()
        assert all(path.startswith(LOGGED_ROUTES) for path in paths)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/healthz"),
            ("GET", "/readyz"),
            ("GET", "/docs"),
            ("GET", "/v1/models"),
            ("GET", "/sdapi/v1/options"),
            ("GET", "/nowhere"),
            ("GET", "/v1/images/nowhere"),
            ("OPTIONS", URL),
        ],
    )
    async def test_of_other_kinds_are_not(
        self, method: str, path: str, client: httpx.AsyncClient, records: Records
    ) -> None:
        await client.request(method, path)
        assert records() == []

    async def test_of_a_link_tells_neither_name_nor_signature(self, backend: FakeBackend, records: Records) -> None:
        backend.images_router = create_router(Keeper(ImageStore("memory://log"), 30), backend.settings)
        transport = httpx.ASGITransport(create_app(backend))
        async with httpx.AsyncClient(transport=transport, base_url="http://easel.test") as client:
            await client.get("/images/1-name.png?expires=1&signature=SIGNED")
        (record,) = records()
        assert (record["route"], record["outcome"], record["error"]) == ("/images/{name}", "refused", "forbidden")
        assert "SIGNED" not in str(record)
        assert "1-name" not in str(record)


@pytest.mark.parametrize("proposed", [b"a b", b"caf\xe9", b"x" * 129, b"a\x1b[31m", b"\xe2\x80\xa8"])
async def test_an_id_that_is_not_fit_for_a_log_is_not_in_it(
    proposed: bytes, client: httpx.AsyncClient, records: Records
) -> None:
    await client.post(URL, json=BODIES[URL], headers={b"x-request-id": proposed})
    assert {record["request_id"] == proposed.decode("latin-1") for record in records()} == {False}
    assert {len(record["request_id"]) for record in records()} == {32}


def test_outside_of_a_request_nothing_is_kept() -> None:
    current().error = "lost"
    assert current().error is None
    with recording("r") as record:
        current().error = "kept"
    assert record.error == "kept"
    assert current() is not record


class TestInServesLog:
    """By Serve's own filters and formatters, amid a request whose caller has sent an id of its own."""

    @pytest.fixture
    def written(self, caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
        caplog.set_level(logging.INFO)
        record = RequestRecord(request_id="ours", route=URL)
        record.accepted(model="small", size=(256, 128), steps=8, pictures=2)
        record.streamed = True
        record.ended(200, 1000, whole=True, seconds=1.23456)
        before = context._serve_request_context.set(context._RequestContext(request_id="caller's own", route="/x"))
        for serves in (ServeCoreContextFilter(), ServeContextFilter(), ServeComponentFilter("a", "b")):
            assert all(map(serves.filter, caplog.records))
        context._serve_request_context.reset(before)
        return caplog.records

    def test_it_is_json_with_the_id_that_is_ours(self, written: list[logging.LogRecord]) -> None:
        for record in written:
            ServeLogAttributeRemovalFilter().filter(record)
        accepted, ended = [json.loads(JSONFormatter().format(record)) for record in written]
        assert (accepted["event"], accepted["request_id"]) == ("accepted", "ours")
        assert ended.items() >= {"event": "ended", "request_id": "ours", "route": URL, "seconds": 1.235}.items()
        assert "caller's own" not in str(accepted) + str(ended)

    def test_it_is_a_short_line_for_a_person(self, written: list[logging.LogRecord]) -> None:
        (shown,) = filter(log_to_stderr_filter, written)
        line = ServeFormatter("ingress", "b3lo").format(shown)
        assert line.endswith(
            "ingress b3lo ours -- answered 200 in 1.23 s: /v1/images/generations, small, 256x128, 8 steps, 2 pictures, "
            "streamed"
        )
