"""The error table against the running service: one shape for every row, none of them 5xx, healthy afterwards."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import httpx
import pytest

from tests.unit.imaging import corpus

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
MODEL = "stabilityai/stable-diffusion-xl-base-1.0"


def post(client: httpx.Client, content: Any, content_type: str = "application/json") -> httpx.Response:
    return client.post(GENERATIONS, content=content, headers={"content-type": content_type})


def assert_refused(response: httpx.Response, status: int, param: str | None = None, says: str = "") -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers.get_list("x-request-id")
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["param"] == param
    assert says in body["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "status", "param", "says"),
    [
        ('"size": "64x64"', 400, "prompt", ""),
        ('"prompt": ""', 400, "prompt", ""),
        ('"prompt": "  \\n "', 400, "prompt", ""),
        ('"prompt": null', 400, "prompt", ""),
        ('"prompt": 7', 400, "prompt", ""),
        ('"prompt": ["a"]', 400, "prompt", ""),
        ('"prompt": "a \\ud800 b"', 400, "prompt", ""),
        (f'"prompt": "{"a" * 4001}"', 413, "prompt", "4000"),
        *(
            (f'"prompt": "a", "size": {json.dumps(size, ensure_ascii=False)}', 400, "size", "")
            for size in (
                "0x0",
                "１０２４x1024",
                "1000000x8",
                "banana",
                "64X64",
                "65x64",
                "8x8",
                "-64x64",
                "64x64x64",
                64,
            )
        ),
        *(
            (f'"prompt": "a", "n": {seed}', 400, "n", "")
            for seed in ("-1", "true", "1.5", str(2**32), '"3"', "NaN", "Infinity", "1e999")
        ),
        ('"prompt": "a", "seed": -1', 400, "seed", ""),
        ('"prompt": "a", "guidance_scale": NaN', 400, "guidance_scale", ""),
        ('"prompt": "a", "guidance_scale": 31', 400, "guidance_scale", "30"),
        ('"prompt": "a", "num_steps": 0', 400, "num_steps", "1"),
        ('"prompt": "a", "num_steps": 101', 400, "num_steps", "100"),
        ('"prompt": "a", "num_images": 11', 400, "num_images", "10"),
        ('"prompt": "a", "quality": "best"', 400, "quality", "smooth"),
        ('"prompt": "a", "response_format": "file"', 400, "response_format", "b64_json"),
        ('"prompt": "a", "output_format": "svg"', 400, "output_format", "png"),
        ('"prompt": "a", "output_compression": 101', 400, "output_compression", "100"),
        ('"prompt": "a", "background": "transparent"', 400, "background", ""),
        ('"prompt": "a", "stream": 1', 400, "stream", ""),
        ('"prompt": "a", "partial_images": 4', 400, "partial_images", ""),
        ('"prompt": "a", "stream": true, "size": "7x7"', 400, "size", ""),
        ('"prompt": "a", "model": "dall-e-9"', 404, "model", MODEL),
    ],
)
def test_bad_fields(client: httpx.Client, fields: str, status: int, param: str, says: str) -> None:
    assert_refused(post(client, f"{{{fields}}}".encode()), status, param, says)


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b'{"prompt": ', "application/json", 400),
        (b"", "application/json", 400),
        (b'["a prompt"]', "application/json", 400),
        (b'{"prompt": "a"}', "text/plain", 400),
        (b"prompt=a", "application/x-www-form-urlencoded", 400),
        (b'{"prompt": "a"}', "multipart/form-data", 400),
        ('{"prompt": "a"}'.encode("utf-16"), "application/json", 400),
        (b"[" * 200_000, "application/json", 400),
        (b'{"prompt": "a", "n": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"prompt": "' + b"a" * 30_000_000 + b'"}', "application/json", 413),
    ],
    ids=["cut", "empty", "array", "text", "form", "no boundary", "utf-16", "deep", "huge number", "30 MB"],
)
def test_bad_bodies(client: httpx.Client, content: bytes, content_type: str, status: int) -> None:
    response = post(client, content, content_type)
    param = response.json()["error"]["param"]
    assert_refused(response, status, param)
    assert client.get("/healthz").status_code == 200


def test_a_body_of_unannounced_length_is_cut_off(client: httpx.Client) -> None:
    def chunks() -> Any:
        yield b'{"prompt": "'
        for _ in range(30):
            yield b"a" * 1_000_000

    response = client.post(GENERATIONS, content=chunks(), headers={"content-type": "application/json"})
    assert_refused(response, 413)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", GENERATIONS, 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/images/generation", 404),
        ("GET", "/v1/models/none", 404),
        ("GET", "/images/1795258717-c6ea7ca5faf2e7f47f20bc657dca6cd1.png", 403),
        ("GET", "/images/..%2f..%2fetc%2fpasswd?expires=9999999999&signature=a", 404),
    ],
)
def test_bad_routes(client: httpx.Client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert_refused(response, status, response.json()["error"]["param"])
    assert ("allow" in response.headers) == (status == 405)


def test_a_compressed_body_is_not_unpacked(client: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert_refused(client.post(GENERATIONS, content=gzip.compress(b'{"prompt": "a"}'), headers=headers), 415)


def test_headers_are_limited(client: httpx.Client) -> None:
    assert_refused(client.get("/healthz", headers={"x": "a" * 40_000}), 431)
    assert_refused(client.get("/healthz", headers={f"x-{index}": "a" for index in range(200)}), 431)


def test_a_picture_that_takes_for_ever_to_decode_costs_nobody_else_anything(client: httpx.Client) -> None:
    body = {"prompt": "a", "size": "64x64", "num_steps": 2, "response_format": "b64_json"}
    slow = {**body, "image": base64.b64encode(corpus.of_many_scans(2048, 20_000)).decode()}
    assert_refused(client.post(EDITS, json=slow), 415, "image")
    good = {**body, "image": base64.b64encode(corpus.sample("PNG")).decode()}
    assert client.post(EDITS, json=good).status_code == 200


def test_clients_may_ping_the_route(client: httpx.Client) -> None:
    assert client.options(GENERATIONS).status_code == 204


def test_ignored_parameters_are_named(client: httpx.Client) -> None:
    body = {
        "prompt": "a",
        "size": "64x64",
        "num_steps": 1,
        "moderation": "low",
        "sampler": "x",
        "negative_prompt": None,
    }
    response = client.post(GENERATIONS, json=body)
    assert response.status_code == 200
    assert response.headers["easel-ignored-parameters"] == "moderation, sampler"


def test_the_service_still_works(client: httpx.Client) -> None:
    assert client.get("/readyz").status_code == 200
    assert client.post(GENERATIONS, json={"prompt": "a", "size": "64x64", "num_steps": 1}).status_code == 200
