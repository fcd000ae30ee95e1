from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from deployments.errors import DeadlineExceeded, ImageRejected, Overloaded
from serve_app.dialects.nebula import GenerationBody

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend

pytestmark = pytest.mark.anyio

URL = "/api/v1/images/generation"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
SCHNELL = "black-forest-labs/FLUX.1-schnell"
FILL = "black-forest-labs/FLUX.1-Fill-dev"
OTTER = {"model": SDXL, "prompt": "otter"}

Refused = Callable[..., str]


def picture(image_format: str = "PNG", size: tuple[int, int] = (64, 32)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "white").save(file, image_format)
    return file.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def refused() -> Refused:
    """Asserts that an answer is an error in Nebula Block's shape; its message."""

    def check(response: httpx.Response, status: int, *, code: str | None = None, param: str | None = None) -> str:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-request-id"]
        body = response.json()
        assert body.keys() == {"status", "message", "error"}
        assert body["status"] == "error"
        assert body["error"].keys() == {"message", "type", "param", "code"}
        assert body["message"] == body["error"]["message"] != ""
        assert body["error"]["param"] == param
        assert code is None or body["error"]["code"] == code
        message: str = body["message"]
        return message

    return check


async def test_get_of_the_documentation(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    sent = """{
        "model": "stabilityai/stable-diffusion-xl-base-1.0",
        "prompt": "insert your prompt here",
        "num_steps": 25,
        "guidance_scale": 9,
        "width": 1024,
        "height": 1024,
        "negative_prompt": null
    }"""
    headers = {"Authorization": "Bearer {TOKEN/KEY}", "Content-Type": "application/json", "x-request-id": "mine"}
    response = await client.request("GET", URL, headers=headers, content=sent)
    (request,) = backend.requests
    assert response.status_code == 200
    assert response.json() == {
        "model": SDXL,
        "object": "list",
        "data": [
            {
                "timings": {"inference": 0.1},
                "index": 0,
                "b64_json": encoded(backend.picture_of(request)),
                "seed": request.seed,
            }
        ],
        "message": "Image generated successfully",
        "status": "success",
    }
    assert "easel-ignored-parameters" not in response.headers
    assert (request.request_id, request.model, request.prompt) == ("mine", SDXL, "insert your prompt here")
    assert (request.steps, request.guidance_scale, request.negative_prompt) == (25, 9.0, "")
    assert (request.width, request.height, request.output_format) == (1024, 1024, "png")
    assert (request.image, request.mask, request.strength) == (None, None, None)


async def test_post_of_the_documentation(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    image, mask = picture("JPEG"), picture("JPEG")
    sent = f"""{{
    "model":"black-forest-labs/FLUX.1-Fill-dev",
    "prompt": "a red baseball cap",
    "num_steps": 40,
    "guidance_scale": 4.5,
    "width": 1024,
    "height": 1024,
    "image": "{encoded(image)}",\x20
    "mask": "{encoded(mask)}"
}}"""
    response = await client.post(URL, content=sent, headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text
    (request,) = backend.requests
    assert (request.model, request.steps, request.guidance_scale) == (FILL, 40, 4.5)
    assert (request.image, request.mask, request.mask_reads) == (image, mask, "white")
    assert response.json()["message"] == "Image generated successfully"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_field_reaches_the_request(method: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
    image, mask = picture(), picture("WEBP")
    body = {
        "model": "SMALL",
        "prompt": " otter ",
        "negative_prompt": "fog",
        "width": 256,
        "height": 128,
        "num_steps": 7,
        "guidance_scale": 3.5,
        "seed": 2**32 - 1,
        "image": encoded(image),
        "mask": f"data:image/webp;base64,{encoded(mask)}",
        "strength": 0.7,
    }
    assert body.keys() == GenerationBody.model_fields.keys()
    response = await client.request(method, URL, json=body)
    assert response.status_code == 200, response.text
    assert "easel-ignored-parameters" not in response.headers
    (request,) = backend.requests
    assert backend.routes[0].name == request.model == response.json()["model"] == "small"
    assert (request.prompt, request.negative_prompt) == ("otter", "fog")
    assert (request.width, request.height, request.seed) == (256, 128, 2**32 - 1)
    assert (request.steps, request.guidance_scale, request.strength) == (7, 3.5, 0.7)
    assert (request.image, request.mask, request.mask_reads) == (image, mask, "white")
    assert response.json()["data"][0]["seed"] == 2**32 - 1


async def test_other_spellings(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    image, mask = picture(), picture("JPEG")
    body = {"model_name": FILL, "prompt": "otter", "input_image": encoded(image), "mask_image": encoded(mask)}
    response = await client.post(URL, json={**body, "model": None, "image": None})
    assert response.status_code == 200, response.text
    assert "easel-ignored-parameters" not in response.headers
    assert (backend.requests[0].model, backend.requests[0].image, backend.requests[0].mask) == (FILL, image, mask)


async def test_null_is_absent_everywhere(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    optional = [name for name in GenerationBody.model_fields if name not in OTTER]
    response = await client.post(URL, json={**OTTER, **dict.fromkeys([*optional, "input_image", "anything"])})
    assert response.status_code == 200, response.text
    assert "easel-ignored-parameters" not in response.headers
    assert (backend.requests[0].width, backend.requests[0].height, backend.requests[0].image) == (1024, 1024, None)


@pytest.mark.parametrize("seed", [{}, {"seed": -1}])
async def test_seed_is_random_when_absent_or_minus_one(
    seed: dict[str, int], client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    reported = [(await client.post(URL, json=OTTER | seed)).json()["data"][0]["seed"] for _ in range(8)]
    assert len(set(reported)) == 8
    assert max(reported) > 2**16
    assert reported == [request.seed for request in backend.requests]


async def test_seed_zero_is_a_seed(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    assert (await client.post(URL, json={**OTTER, "seed": 0})).json()["data"][0]["seed"] == 0


async def test_picture_without_a_mask_is_varied(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    await client.post(URL, json={**OTTER, "width": 64, "height": 32 * 2, "image": encoded(picture())})
    (request,) = backend.requests
    assert request.image == picture()
    assert (request.mask, request.width, request.height) == (None, 64, 64)


@pytest.mark.parametrize(
    ("sides", "made"), [((1000, 1030), (992, 1024)), ((1024, 1039), (1024, 1024)), ((1039, 1024), (1024, 1024))]
)
async def test_fill_rounds_and_says_so(
    sides: tuple[int, int], made: tuple[int, int], client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    body = {"model": FILL, "prompt": "otter", "image": encoded(picture()), "width": sides[0], "height": sides[1]}
    answer = (await client.post(URL, json=body)).json()
    assert (backend.requests[0].width, backend.requests[0].height) == made
    assert answer["message"] == (
        f"Image generated successfully with a width of {made[0]} and a height of {made[1]}: "
        f"{FILL} rounds both down to multiples of 16"
    )
    assert answer["status"] == "success"


async def test_unused_parameters_are_named(client: httpx.AsyncClient) -> None:
    response = await client.post(
        URL, json={"model": SCHNELL, "prompt": "otter", "guidance_scale": 3, "n": 2, "num_inference_steps": 9}
    )
    assert response.status_code == 200
    assert response.headers["easel-ignored-parameters"] == "guidance_scale, n, num_inference_steps"


async def test_options_answers_without_a_key(client: httpx.AsyncClient) -> None:
    response = await client.options(URL)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "GET, OPTIONS, POST"


BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("model", None, "missing_required_parameter"),
    ("model", 5, "invalid_value"),
    ("model_name", 5, "invalid_value"),
    ("prompt", None, "missing_required_parameter"),
    ("prompt", " ", "invalid_value"),
    ("prompt", "\ud800", "invalid_value"),
    ("negative_prompt", 5, "invalid_value"),
    ("width", 0, "invalid_value"),
    ("width", "1024", "invalid_value"),
    ("width", 1024.0, "invalid_value"),
    ("width", 10**400, "invalid_value"),
    ("height", True, "invalid_value"),
    ("height", -8, "invalid_value"),
    ("height", 2**16 + 1, "invalid_value"),
    ("num_steps", 0, "invalid_value"),
    ("num_steps", 101, "invalid_value"),
    ("guidance_scale", float("nan"), "invalid_value"),
    ("guidance_scale", 31, "invalid_value"),
    ("seed", -2, "invalid_value"),
    ("seed", 2**32, "invalid_value"),
    ("seed", 1.5, "invalid_value"),
    ("image", "", "invalid_value"),
    ("image", "not base64!", "invalid_value"),
    ("image", "https://pictures.example/otter.png", "invalid_value"),
    ("input_image", 5, "invalid_value"),
    ("mask", "data:image/png,otter", "invalid_value"),
    ("mask_image", {"url": "otter"}, "invalid_value"),
    ("strength", 0, "invalid_value"),
    ("strength", 1.1, "invalid_value"),
]


@pytest.mark.parametrize(("field", "value", "code"), BAD_FIELDS)
async def test_bad_field_is_named(
    field: str, value: object, code: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    body = {"model": SDXL, "prompt": "otter", field: value}
    if field == "model_name":
        del body["model"]
    content = json.dumps(body).encode()
    response = await client.post(URL, content=content, headers={"content-type": "application/json"})
    assert f"'{field}'" in refused(response, 400, code=code, param=field)
    assert backend.requests == []


@pytest.mark.parametrize(
    ("width", "height", "param"),
    [
        (513, 512, "width"),  # no multiple
        (512, 513, "height"),
        (32, 256, "width"),  # too small
        (256, 32, "height"),
        (520, 256, "width"),  # too large
        (256, 520, "height"),
        (2048, 8, "width"),  # both
        (512, 512, "width"),  # too many pixels together
        (512, 128, "width"),  # too long together
    ],
)
async def test_size_that_the_model_does_not_make_names_its_side(
    width: int, height: int, param: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    response = await client.post(URL, json={"model": "small", "prompt": "otter", "width": width, "height": height})
    message = refused(response, 400, code="invalid_value", param=param)
    assert message.startswith(f"Invalid '{param}': small makes pictures whose sides are 64 to 512 pixels")
    assert f"{width}x{height}" in message
    assert backend.requests == []


async def test_multiple_is_no_fault_where_the_model_rounds(client: httpx.AsyncClient, refused: Refused) -> None:
    body = {"model": FILL, "prompt": "otter", "image": encoded(picture()), "width": 1000, "height": 40}
    refused(await client.post(URL, json=body), 400, param="height")


async def test_steps_beyond_the_models_are_named(client: httpx.AsyncClient, refused: Refused) -> None:
    body = {"model": "small", "prompt": "otter", "width": 256, "height": 128, "num_steps": 11}
    assert "1 to 10" in refused(await client.post(URL, json=body), 400, param="num_steps")


async def test_mask_without_an_image_is_refused(
    client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    response = await client.post(URL, json={**OTTER, "mask": encoded(picture())})
    assert "no image" in refused(response, 400, code="invalid_value", param="mask")
    assert backend.requests == []


async def test_bytes_that_are_no_picture_are_refused(client: httpx.AsyncClient, refused: Refused) -> None:
    response = await client.post(URL, json={**OTTER, "image": encoded(b"not a picture")})
    refused(response, 415, code="invalid_image", param="image")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("model", "pictures", "status", "code"),
    [
        ("dall-e-3", [], 404, "model_not_found"),
        (FILL, [], 400, "unsupported_capability"),
        (SCHNELL, ["image"], 400, "unsupported_capability"),
        (SCHNELL, ["image", "mask"], 400, "unsupported_capability"),
    ],
)
async def test_model_that_cannot(
    method: str,
    model: str,
    pictures: Sequence[str],
    status: int,
    code: str,
    client: httpx.AsyncClient,
    refused: Refused,
) -> None:
    body = {"model": model, "prompt": "otter", **dict.fromkeys(pictures, encoded(picture()))}
    message = refused(await client.request(method, URL, json=body), status, code=code, param="model")
    assert model in message


async def test_error_of_the_backend_keeps_its_status_and_headers(
    client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    backend.failure = Overloaded("Full.", retry_after_seconds=7)
    response = await client.post(URL, json=OTTER)
    assert refused(response, 503, code="server_is_overloaded") == "Full."
    assert response.headers["retry-after"] == "7"
    backend.failure = DeadlineExceeded("Too late.")
    response = await client.post(URL, json=OTTER)
    assert refused(response, 504, code="deadline_exceeded") == "Too late."
    assert response.headers["x-should-retry"] == "false"
    backend.failure = ImageRejected("mask: no picture.", param="mask")
    refused(await client.post(URL, json=OTTER), 415, code="invalid_image", param="mask")


async def test_unforeseen_error_is_answered_without_detail(
    client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    backend.failure = ZeroDivisionError("secret detail")
    assert "secret" not in refused(await client.post(URL, json=OTTER), 500, code="internal_error")


async def test_unknown_routes_and_wrong_methods(client: httpx.AsyncClient, refused: Refused) -> None:
    for path in ("/api/v1", "/api/v1/", "/api/v1/images", "/api/v1/models", f"{URL}/", f"{URL}s"):
        refused(await client.post(path, json=OTTER), 404, code="not_found")
    response = await client.delete(URL)
    assert "POST" in refused(response, 405, code="method_not_allowed")
    assert "POST" in response.headers["allow"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("content", "content_type", "code"),
    [
        (b"", "application/json", "invalid_json"),
        (b'{"prompt": ', "application/json", "invalid_json"),
        (b'{"prompt": "\xff"}', "application/json", "invalid_json"),
        (b"[]", "application/json", "invalid_body"),
        (b'{"model": "small", "prompt": "otter"}', "text/plain", "invalid_body"),
        (b"prompt=otter", "application/x-www-form-urlencoded", "invalid_body"),
        (b"--x--", "multipart/form-data; boundary=x", "invalid_body"),
    ],
)
async def test_body_that_is_no_json_object(
    method: str, content: bytes, content_type: str, code: str, client: httpx.AsyncClient, refused: Refused
) -> None:
    response = await client.request(method, URL, content=content, headers={"content-type": content_type})
    assert "body" in refused(response, 400, code=code)


async def test_large_body_is_refused(client: httpx.AsyncClient, backend: FakeBackend, refused: Refused) -> None:
    backend.current = backend.current.model_copy(update={"max_image_bytes": 10})
    refused(await client.post(URL, json={**OTTER, "image": encoded(b"x" * 11)}), 413, code="too_large", param="image")
    response = await client.post(URL, content=b"x" * (25 * 2**20 + 1), headers={"content-type": "application/json"})
    refused(response, 413, code="too_large")


def test_get_and_post_are_documented_alike(app: FastAPI) -> None:
    operations = app.openapi()["paths"][URL]
    assert operations.keys() == {"get", "post"}
    assert operations["get"]["requestBody"] == operations["post"]["requestBody"]
    assert operations["get"]["responses"] == operations["post"]["responses"]
    schema = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["model", "prompt"]
    for name, field in schema["properties"].items():
        assert field["description"].endswith("."), name
        assert field.get("examples") or name in ("image", "mask"), name
        assert name in ("model", "prompt") or {"type": "null"} in field["anyOf"], name
    assert [schema["properties"][name]["default"] for name in ("width", "height", "seed")] == [1024, 1024, -1]
