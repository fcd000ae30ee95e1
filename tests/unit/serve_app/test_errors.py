"""One error shape, over every producer of errors."""

from __future__ import annotations

import inspect
import json
import logging
import math
from typing import TYPE_CHECKING

import httpx
import pytest

from deployments import errors as tree
from deployments.errors import EaselError
from serve_app.errors import error_response

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend, Refused

pytestmark = pytest.mark.anyio

EXPECTED = {
    "EaselError": (500, "server_error"),
    "InvalidRequest": (400, "invalid_request_error"),
    "ImageRejected": (415, "invalid_request_error"),
    "BodyCompressed": (415, "invalid_request_error"),
    "TooLarge": (413, "invalid_request_error"),
    "HeadersTooLarge": (431, "invalid_request_error"),
    "NotFound": (404, "invalid_request_error"),
    "Unauthorized": (401, "invalid_request_error"),
    "Forbidden": (403, "invalid_request_error"),
    "QuotaExceeded": (429, "rate_limit_error"),
    "Expired": (410, "invalid_request_error"),
    "Unavailable": (503, "service_unavailable_error"),
    "Overloaded": (503, "service_unavailable_error"),
    "ModelUnavailable": (503, "service_unavailable_error"),
    "ReplicaLost": (503, "service_unavailable_error"),
    "StoreUnavailable": (503, "service_unavailable_error"),
    "DeadlineExceeded": (504, "server_error"),
    "GenerationFailed": (500, "server_error"),
    "OutOfMemory": (500, "server_error"),
    "InvalidOutput": (500, "server_error"),
}
NOT_WORTH_ANOTHER_TRY = {"DeadlineExceeded", "GenerationFailed", "OutOfMemory", "InvalidOutput"}
CLASSES = [kind for _, kind in inspect.getmembers(tree, inspect.isclass) if issubclass(kind, EaselError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_of_the_tree_has_its_status_and_shape(kind: type[EaselError]) -> None:
    status, type_name = EXPECTED[kind.__name__]
    response = error_response(kind("What happened.", param="size"), {"path": "/v1/images/edits"})
    assert response.status_code == status
    assert json.loads(bytes(response.body)) == {
        "error": {"message": "What happened.", "type": type_name, "param": "size", "code": kind.default_code}
    }
    assert ("retry-after" in response.headers) == (status in (429, 503))
    assert response.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert response.headers.get("x-should-retry") == ("false" if kind.__name__ in NOT_WORTH_ANOTHER_TRY else None)


@pytest.mark.parametrize(
    ("seconds", "header"),
    [(None, "5"), (-3, "1"), (0.2, "1"), (1.2, "2"), (60, "60"), (3600, "60"), (math.inf, "60"), (math.nan, "1")],
)
def test_retry_after_is_a_whole_number_up_to_sixty(seconds: float | None, header: str) -> None:
    response = error_response(tree.Overloaded("Full.", retry_after_seconds=seconds), {"path": "/"})
    assert response.headers["Retry-After"] == header


@pytest.mark.parametrize(
    ("path", "root_path", "wrapped"),
    [
        ("/api/v1", "", True),
        ("/api/v1/", "", True),
        ("/api/v1/images/generation", "", True),
        ("/easel/api/v1/models", "/easel", True),
        ("/api/v10", "", False),
        ("/api", "", False),
        ("/v1/images/generations", "", False),
        ("/openai/api/v1", "", False),
        ("", "", False),
    ],
)
def test_nebula_blocks_envelope_is_below_its_prefix_alone(path: str, root_path: str, wrapped: bool) -> None:
    response = error_response(tree.NotFound("No such thing.", param="model"), {"path": path, "root_path": root_path})
    error = {"message": "No such thing.", "type": "invalid_request_error", "param": "model", "code": "not_found"}
    beside = {"status": "error", "message": "No such thing."} if wrapped else {}
    assert response.status_code == 404
    assert json.loads(bytes(response.body)) == {"error": error, **beside}


@pytest.mark.parametrize("kind", CLASSES)
async def test_error_of_the_backend_reaches_the_client(
    kind: type[EaselError], client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    backend.failure = kind("What happened.", code="own_code", param="prompt")
    response = await client.post("/v1/images/generations", json={"prompt": "otter"})
    message = refused(response, EXPECTED[kind.__name__][0], code="own_code", param="prompt")
    assert message == "What happened."


async def test_error_of_the_store_reaches_the_client(
    client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    backend.store_failure = tree.StoreUnavailable("The image store does not answer.", retry_after_seconds=7)
    response = await client.post("/v1/images/generations", json={"prompt": "otter"})
    refused(response, 503, code="image_store_unavailable")
    assert response.headers["Retry-After"] == "7"


async def test_unforeseen_error_is_answered_without_detail_and_logged_with_its_place(
    client: httpx.AsyncClient, backend: FakeBackend, refused: Refused, caplog: pytest.LogCaptureFixture
) -> None:
    backend.failure = ZeroDivisionError("secret detail")
    headers = {"x-request-id": "mine-7"}
    response = await client.post("/v1/images/generations", json={"prompt": "otter"}, headers=headers)
    assert "secret" not in refused(response, 500, code="internal_error")
    assert response.headers["x-request-id"] == "mine-7"
    (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert "mine-7" in told
    assert "in generate" in told
    assert told.endswith("ZeroDivisionError")
    assert "secret detail" not in caplog.text


async def test_unknown_route_and_wrong_method(client: httpx.AsyncClient, refused: Refused) -> None:
    refused(await client.get("/nowhere"), 404, code="not_found")
    refused(await client.post("/v1/images/generations/", json={"prompt": "otter"}), 404, code="not_found")
    response = await client.get("/v1/images/generations")
    assert "POST" in refused(response, 405, code="method_not_allowed")
    assert response.headers["allow"] == "POST"
    refused(await client.request("BREW", "/healthz"), 405)


@pytest.mark.parametrize(
    ("content", "headers", "code"),
    [
        pytest.param(b"", {}, "invalid_body", id="empty"),
        pytest.param(b'{"prompt": "otter"}', {}, "invalid_body", id="no content type"),
        pytest.param(b'{"prompt": "otter"}', {"content-type": "text/plain"}, "invalid_body", id="text"),
        pytest.param(b"prompt=otter", {"content-type": "application/x-www-form-urlencoded"}, "invalid_body", id="form"),
        pytest.param(b"--x--", {"content-type": "multipart/form-data; boundary=x"}, "invalid_body", id="multipart"),
        pytest.param(b'[{"prompt": "otter"}]', {"content-type": "application/json"}, "invalid_body", id="array"),
        pytest.param(b'"otter"', {"content-type": "application/json"}, "invalid_body", id="string"),
        pytest.param(b"null", {"content-type": "application/json"}, "invalid_body", id="null"),
        pytest.param(b'{"prompt": "otter"', {"content-type": "application/json"}, "invalid_json", id="cut off"),
        pytest.param(b"[" * 200_000, {"content-type": "application/json"}, "invalid_json", id="deep"),
        pytest.param(
            b'{"prompt": "otter", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
            {"content-type": "application/json"},
            "invalid_json",
            id="deep and complete",
        ),
        pytest.param(b'{"n": ' + b"9" * 5000 + b"}", {"content-type": "application/json"}, "invalid_json", id="digits"),
        pytest.param(b'{"prompt": "\xff"}', {"content-type": "application/json"}, "invalid_json", id="not UTF-8"),
        pytest.param(
            '{"prompt": "otter"}'.encode("utf-16"), {"content-type": "application/json"}, "invalid_json", id="UTF-16"
        ),
        pytest.param(
            '{"prompt": "otter"}'.encode("utf-32-le"), {"content-type": "application/json"}, "invalid_json", id="UTF-32"
        ),
    ],
)
async def test_body_that_is_no_json_object(
    content: bytes,
    headers: dict[str, str],
    code: str,
    client: httpx.AsyncClient,
    backend: FakeBackend,
    refused: Refused,
) -> None:
    response = await client.post("/v1/images/generations", content=content, headers=headers)
    assert "body" in refused(response, 400, code=code)
    assert backend.requests == []


async def test_content_type_that_is_missing_is_named(client: httpx.AsyncClient, refused: Refused) -> None:
    response = await client.post("/v1/images/generations", content=b'{"prompt": "otter"}')
    assert "content-type: application/json" in refused(response, 400)
