from __future__ import annotations

import base64
import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from pydantic import HttpUrl

from deployments.errors import OutOfMemory
from deployments.models.registry import FAMILIES
from serve_app.dialects.block_entropy import GenerationBody

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend, Refused

pytestmark = pytest.mark.anyio

URL = "/v1/images/generations"
NAME = "stabilityai/stable-diffusion-xl-base-1.0"


async def test_example_of_the_documentation(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    before = time.time()
    response = await client.post(
        URL,
        json={
            "model": "be-stable-diffusion-xl-base-1.0",
            "prompt": "A cute baby sea otter",
            "n": 1,
            "size": "1024x1024",
        },
        headers={"x-request-id": "mine"},
    )
    assert response.status_code == 200
    answer = response.json()
    assert before - 1 <= answer.pop("created") <= time.time()
    assert answer.pop("data") == [{"url": "http://easel.test/images/1.png", "seed": 1, "revised_prompt": None}]
    assert answer == {
        "background": "opaque",
        "output_format": "png",
        "quality": "smooth",
        "size": "1024x1024",
        "usage": {
            "input_tokens": 5,
            "output_tokens": 4096,
            "total_tokens": 4101,
            "input_tokens_details": {"text_tokens": 5, "image_tokens": 0},
        },
    }
    assert "easel-ignored-parameters" not in response.headers

    (request,) = backend.requests
    assert (request.request_id, request.model, request.prompt) == ("mine", NAME, "A cute baby sea otter")
    assert (request.width, request.height, request.seed, request.quality) == (1024, 1024, 1, "smooth")
    assert (request.steps, request.guidance_scale, request.negative_prompt) == (None, None, "")
    assert (request.output_format, request.output_compression) == ("png", 100)
    assert before + 240 <= request.standing.deadline <= time.time() + 240
    (kept, _) = backend.kept[0]
    assert kept == backend.picture_of(request)


async def test_every_field_reaches_the_request(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    body = {
        "prompt": "  (otter)0.5 C++ :-) \u200d🦦\n",
        "model": "SMALL",
        "n": 5,
        "seed": 2**32 - 1,
        "negative_prompt": " fog ",
        "quality": "hd",
        "size": "256x128",
        "num_steps": 10,
        "guidance_scale": 7,
        "response_format": "b64_json",
        "output_format": "webp",
        "output_compression": 80,
        "background": "opaque",
        "user": "anyone",
        "stream": False,
        "partial_images": 0,
    }
    response = await client.post(URL, json=body)
    (request,) = backend.requests
    (item,) = response.json()["data"]
    assert item.keys() == {"b64_json", "seed", "revised_prompt"}
    assert base64.b64decode(item["b64_json"]) == backend.picture_of(request)
    assert backend.kept == []
    assert backend.routes[0].name == request.model == "small"
    assert (request.prompt, request.negative_prompt) == ("(otter)0.5 C++ :-) \u200d🦦", "fog")
    assert (request.width, request.height, request.seed, request.quality) == (256, 128, 2**32 - 1, "hd")
    assert (request.steps, request.guidance_scale) == (10, 7.0)
    assert (request.output_format, request.output_compression) == ("webp", 80)
    assert "easel-ignored-parameters" not in response.headers


async def test_other_spellings(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    await client.post(URL, json={"prompt": "otter", "negprompt": "fog", "num_inference_steps": 7})
    (request,) = backend.requests
    assert (request.negative_prompt, request.steps) == ("fog", 7)


async def test_auto_size_is_the_default_of_the_model(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    await client.post(URL, json={"prompt": "otter", "model": "small", "size": "auto"})
    assert (backend.requests[0].width, backend.requests[0].height) == (256, 128)


async def test_null_is_absent_everywhere(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    optional = [name for name in GenerationBody.model_fields if name != "prompt"]
    others = ["negprompt", "num_inference_steps", "moderation", "anything"]
    response = await client.post(URL, json={"prompt": "otter", "seed": 3, **dict.fromkeys([*optional, *others][1:])})
    assert response.status_code == 200, response.text
    assert "easel-ignored-parameters" not in response.headers
    for name in [*optional, *others]:
        response = await client.post(URL, json={"prompt": "otter", name: None})
        assert response.status_code == 200, name
    assert {(request.width, request.quality, request.output_format) for request in backend.requests} == {
        (1024, "smooth", "png")
    }


async def test_absent_seed_is_drawn_anew_and_reported(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    reported = [(await client.post(URL, json={"prompt": "otter"})).json()["data"][0]["seed"] for _ in range(8)]
    assert len(set(reported)) == 8
    assert max(reported) > 2**16
    assert reported == [request.seed for request in backend.requests]


async def test_seed_wins_over_n_even_when_it_is_zero(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    await client.post(URL, json={"prompt": "otter", "n": 7, "seed": 0})
    assert backend.requests[0].seed == 0


async def test_pictures_of_one_request_have_seeds_in_a_row(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    body = {"prompt": "otter", "n": 2**32 - 2, "num_images": 4, "response_format": "b64_json"}
    data = (await client.post(URL, json=body, headers={"x-request-id": "mine"})).json()["data"]
    assert [item["seed"] for item in data] == [2**32 - 2, 2**32 - 1, 0, 1]
    assert [request.request_id for request in backend.requests] == ["mine", "mine-1", "mine-2", "mine-3"]
    assert [base64.b64decode(item["b64_json"]) for item in data] == [
        backend.picture_of(request) for request in backend.requests
    ]


async def test_failure_of_one_picture_cancels_the_others(
    client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    backend.failure, backend.failing_seed = OutOfMemory("Too large for the device."), 2
    with anyio.fail_after(5):
        response = await client.post(URL, json={"prompt": "otter", "n": 1, "num_images": 3})
    refused(response, 500, code="out_of_memory")
    assert sorted(backend.cancelled) == [1, 3]


async def test_client_that_leaves_cancels_all_pictures(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.failing_seed = 99
    with anyio.move_on_after(0.1):
        await client.post(URL, json={"prompt": "otter", "n": 1, "num_images": 2})
    assert sorted(backend.cancelled) == [1, 2]


async def test_links_start_with_the_public_url_where_there_is_one(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.current = backend.current.model_copy(update={"public_url": HttpUrl("https://pictures.example/easel/")})
    await client.post(URL, json={"prompt": "otter"})
    assert backend.kept[0][1] == "https://pictures.example/easel"


async def test_unused_parameters_are_named(client: httpx.AsyncClient) -> None:
    body = {"prompt": "otter", "moderation": "low", "style": "vivid", "strength": 0.5, "bad\r\nname: é": 1}
    response = await client.post(URL, json=body)
    assert response.status_code == 200
    assert response.headers["easel-ignored-parameters"] == "moderation, style, strength, bad??name???"


async def test_field_name_that_is_no_text_is_refused(client: httpx.AsyncClient, refused: Refused) -> None:
    content = json.dumps({"prompt": "otter", "\ud800": 1}).encode()
    response = await client.post(URL, content=content, headers={"content-type": "application/json"})
    refused(response, 400, code="invalid_body")


async def test_options_answers_without_a_key(client: httpx.AsyncClient) -> None:
    response = await client.options(URL)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "OPTIONS, POST"


BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("prompt", None, "missing_required_parameter"),
    ("prompt", "", "invalid_value"),
    ("prompt", " \n\t ", "invalid_value"),
    ("prompt", 5, "invalid_value"),
    ("prompt", ["otter"], "invalid_value"),
    ("prompt", "\ud800", "invalid_value"),
    ("prompt", "ok \udfff ok", "invalid_value"),
    ("negative_prompt", "\ud800", "invalid_value"),
    ("negprompt", 5, "invalid_value"),
    ("model", 5, "invalid_value"),
    ("size", "0x0", "invalid_value"),
    ("size", "１０２４x1024", "invalid_value"),
    ("size", "1000000x8", "invalid_value"),
    ("size", "99999999999x8", "invalid_value"),
    ("size", "banana", "invalid_value"),
    ("size", "1024x1024\n", "invalid_value"),
    ("size", "1001x1001", "invalid_value"),
    ("size", [1024, 1024], "invalid_value"),
    ("size", 1024, "invalid_value"),
    ("n", -1, "invalid_value"),
    ("n", True, "invalid_value"),
    ("n", 1.5, "invalid_value"),
    ("n", 3.0, "invalid_value"),
    ("n", 2**32, "invalid_value"),
    ("n", 10**400, "invalid_value"),
    ("n", "3", "invalid_value"),
    ("n", float("nan"), "invalid_value"),
    ("seed", -1, "invalid_value"),
    ("num_images", 0, "invalid_value"),
    ("num_images", 11, "invalid_value"),
    ("num_images", True, "invalid_value"),
    ("num_steps", 0, "invalid_value"),
    ("num_inference_steps", 101, "invalid_value"),
    ("guidance_scale", float("nan"), "invalid_value"),
    ("guidance_scale", float("inf"), "invalid_value"),
    ("guidance_scale", float("-inf"), "invalid_value"),
    ("guidance_scale", -0.1, "invalid_value"),
    ("guidance_scale", 30.1, "invalid_value"),
    ("guidance_scale", "5", "invalid_value"),
    ("guidance_scale", True, "invalid_value"),
    ("quality", "best", "invalid_value"),
    ("quality", {"a": 1}, "invalid_value"),
    ("response_format", "png", "invalid_value"),
    ("output_format", "svg", "invalid_value"),
    ("output_format", "gif", "invalid_value"),
    ("output_compression", 101, "invalid_value"),
    ("output_compression", -1, "invalid_value"),
    ("output_compression", 50.0, "invalid_value"),
    ("background", "transparent", "invalid_value"),
    ("user", 5, "invalid_value"),
    ("stream", "false", "invalid_value"),
    ("stream", 0, "invalid_value"),
    ("partial_images", 4, "invalid_value"),
]


@pytest.mark.parametrize(("field", "value", "code"), BAD_FIELDS)
async def test_bad_field_is_named(
    field: str, value: object, code: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    # Not `json=`: httpx refuses to write NaN and lone surrogates, which json.dumps writes as real clients do.
    content = json.dumps({"prompt": "otter", field: value}).encode()
    response = await client.post(URL, content=content, headers={"content-type": "application/json"})
    assert f"'{field}'" in refused(response, 400, code=code, param=field)
    assert backend.requests == []


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
async def test_prompt_of_4001_characters_is_too_large(field: str, client: httpx.AsyncClient, refused: Refused) -> None:
    message = refused(
        await client.post(URL, json={"prompt": "otter", field: "x" * 4001}), 413, code="too_large", param=field
    )
    assert "4000" in message
    assert (await client.post(URL, json={"prompt": "otter", field: " " + "x" * 4000})).status_code == 200


async def test_limits_of_the_model_apply(client: httpx.AsyncClient, backend: FakeBackend, refused: Refused) -> None:
    response = await client.post(URL, json={"prompt": "otter", "model": "small", "size": "512x512"})
    assert "small" in refused(response, 400, param="size")
    response = await client.post(URL, json={"prompt": "otter", "model": "small", "size": "auto", "num_steps": 11})
    assert "1 to 10" in refused(response, 400, param="num_steps")
    assert backend.requests == []


async def test_model_that_makes_no_pictures_from_text_is_refused(
    client: httpx.AsyncClient, backend: FakeBackend, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "sdxl", dataclasses.replace(FAMILIES["sdxl"], capabilities=("inpainting",)))
    response = await client.post(URL, json={"prompt": "otter"})
    message = refused(response, 400, code="unsupported_capability", param="model")
    assert NAME in message
    assert "inpainting" in message
    assert backend.requests == []


@pytest.mark.parametrize("model", ["dall-e-3", "", "\ud800", "x" * 10_000])
async def test_unknown_model(model: str, client: httpx.AsyncClient, refused: Refused) -> None:
    content = json.dumps({"prompt": "otter", "model": model}).encode()
    response = await client.post(URL, content=content, headers={"content-type": "application/json"})
    assert NAME in refused(response, 404, code="model_not_found", param="model")


async def test_many_bad_fields_are_one_error(client: httpx.AsyncClient, refused: Refused) -> None:
    refused(await client.post(URL, json={"prompt": "", "n": -1, "size": "banana"}), 400, param="prompt")
