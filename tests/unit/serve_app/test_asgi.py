from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI

from serve_app.asgi import create_app
from serve_app.backend import ModelState

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend, Refused

pytestmark = pytest.mark.anyio

URL = "/v1/images/generations"
LARGE = 30 * 2**20


async def test_healthz(client: httpx.AsyncClient) -> None:
    response = await client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["x-request-id"]


async def test_readyz_when_every_model_is_ready(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.states = {"a": ModelState(True, "running (1 replica)"), "b": ModelState(True, "scaled to zero")}
    response = await client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "models": {"a": "running (1 replica)", "b": "scaled to zero"}}
    assert "retry-after" not in response.headers


async def test_readyz_when_a_model_is_not(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.states = {"a": ModelState(True, "running (1 replica)"), "b": ModelState(False, "starting")}
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "not ready", "models": {"a": "running (1 replica)", "b": "starting"}}
    assert 1 <= int(response.headers["retry-after"]) <= 60


async def test_documentation(client: httpx.AsyncClient) -> None:
    documentation = await client.get("/docs")
    assert documentation.status_code == 200
    assert "Easel" in documentation.text


async def test_documentation_keeps_no_key_in_the_browser(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert '"persistAuthorization": false' in page
    assert all(f'"{name}": true' in page for name in ("tryItOutEnabled", "filter", "displayRequestDuration"))


async def test_route_of_the_pictures_is_served(backend: FakeBackend) -> None:
    @backend.images_router.get("/images/{name}")
    async def picture(name: str) -> str:
        return name

    transport = httpx.ASGITransport(create_app(backend))
    async with httpx.AsyncClient(transport=transport, base_url="http://easel.test") as client:
        assert (await client.get("/images/a.png")).json() == "a.png"


@pytest.mark.parametrize("size", [LARGE, 25 * 2**20 + 1])
async def test_large_body_is_refused_with_and_without_its_length(
    size: int, client: httpx.AsyncClient, refused: Refused
) -> None:
    body = b'{"prompt": "' + b"x" * (size - 14) + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 2**20):
            yield body[start : start + 2**20]

    for content in (body, chunks()):
        headers = {"content-type": "application/json"}
        response = await client.post(URL, content=content, headers=headers)
        assert "26214400 bytes" in refused(response, 413, code="too_large")


@pytest.mark.parametrize("host", ["", "[", "a b", "a:b:c", "x" * 5000, "a/b?c#d", "user@host", "caf\xe9"])
async def test_hostile_host_header_is_no_server_error(host: str, client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json={"prompt": "otter"}, headers={b"host": host.encode("latin-1")})
    assert response.status_code in (200, 400), response.text


def test_every_operation_documents_its_errors_and_never_422(app: FastAPI) -> None:
    document = app.openapi()
    assert document["info"]["title"] == "Easel"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            assert "422" not in operation["responses"]
            for status, answer in operation["responses"].items():
                if status != "200" and operation["tags"] != ["Service"]:
                    schema = answer["content"]["application/json"]["schema"]
                    envelope = "NebulaErrorEnvelope" if path.startswith("/api/v1/") else "ErrorEnvelope"
                    assert schema == {"$ref": f"#/components/schemas/{envelope}"}


def bodies(app: FastAPI) -> dict[tuple[str, str], dict[str, Any]]:
    """The documented body of every operation, by path and content type."""
    return {
        (path, content_type): content["schema"]
        for path, operations in app.openapi()["paths"].items()
        for operation in operations.values()
        for content_type, content in operation.get("requestBody", {}).get("content", {}).items()
    }


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
@pytest.mark.parametrize(
    ("route", "content_type"),
    [
        ("generations", "application/json"),
        ("edits", "application/json"),
        ("edits", "multipart/form-data"),
    ],
)
def test_every_field_of_a_request_is_documented(app: FastAPI, prefix: str, route: str, content_type: str) -> None:
    schema = bodies(app)[f"{prefix}/images/{route}", content_type]
    assert schema["required"] == ["prompt"]
    pictures = {"pose_image", "keypoints", "image", "images", "mask"}
    for name, field in schema["properties"].items():
        assert field["description"].endswith("."), name
        assert field.get("examples") or name in pictures, name
        if content_type == "application/json" and name != "prompt":
            assert {"type": "null"} in field["anyOf"], name
    assert "$ref" not in json.dumps(schema)


def test_a_form_has_files_and_plain_values(app: FastAPI) -> None:
    fields = bodies(app)["/v1/images/edits", "multipart/form-data"]["properties"]
    for name in ("image", "mask", "pose_image"):
        assert (fields[name]["type"], fields[name]["format"]) == ("string", "binary")
    assert (fields["n"]["type"], fields["n"]["maximum"]) == ("integer", 2**32 - 1)
    assert fields["keypoints"]["contentMediaType"] == "application/json"
    assert "images" not in fields


def test_what_the_dialects_mean_differently_is_documented(app: FastAPI) -> None:
    ours = bodies(app)["/v1/images/generations", "application/json"]["properties"]
    theirs = bodies(app)["/openai/v1/images/generations", "application/json"]["properties"]
    assert (ours["size"]["default"], theirs["size"]["default"]) == ("1024x1024", "auto")
    assert ours["size"]["anyOf"][0]["pattern"]
    assert ours["n"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
    assert theirs["n"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 10}
    assert ours["response_format"]["default"] == "url"
    assert theirs["response_format"].get("default") is None
