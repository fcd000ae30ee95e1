"""What OpenAI means by the fields that Block Entropy means otherwise; all else is tested with that dialect."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from deployments.errors import ModelUnavailable

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend, Refused

pytestmark = pytest.mark.anyio

URL = "/openai/v1/images/generations"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"


async def test_a_prompt_alone(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    response = await client.post(URL, json={"prompt": "otter"}, headers={"x-request-id": "mine"})
    assert response.status_code == 200
    (request,) = backend.requests
    assert (request.request_id, request.model, request.prompt) == ("mine", SDXL, "otter")
    assert (request.width, request.height, request.quality, request.partial_images) == (1024, 1024, "smooth", 0)
    (item,) = response.json()["data"]
    assert item == {
        "url": "http://easel.test/images/1.png",
        "b64_json": base64.b64encode(backend.picture_of(request)).decode(),
        "seed": request.seed,
        "revised_prompt": None,
    }
    assert "easel-ignored-parameters" not in response.headers


async def test_no_size_is_the_models_default(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    for fields in ({}, {"size": None}, {"size": "auto"}):
        answer = (await client.post(URL, json={"prompt": "otter", "model": "small", **fields})).json()
        assert answer["size"] == "256x128"
    assert {(request.width, request.height) for request in backend.requests} == {(256, 128)}


async def test_n_is_the_number_of_pictures_whose_seeds_follow_one_another(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    answer = (await client.post(URL, json={"prompt": "otter", "n": 10, "seed": 2**32 - 2})).json()
    seeds = [2**32 - 2, 2**32 - 1, *range(8)]
    assert [item["seed"] for item in answer["data"]] == seeds
    assert [request.seed for request in backend.requests] == seeds
    assert [base64.b64decode(item["b64_json"]) for item in answer["data"]] == [
        backend.picture_of(request) for request in backend.requests
    ]
    assert len({item["url"] for item in answer["data"]}) == 10


@pytest.mark.parametrize("fields", [{"n": None}, {}])
async def test_no_n_is_one_picture(fields: dict[str, Any], client: httpx.AsyncClient) -> None:
    assert len((await client.post(URL, json={"prompt": "otter", **fields})).json()["data"]) == 1


async def test_num_images_is_unknown(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json={"prompt": "otter", "num_images": 3})
    assert len(response.json()["data"]) == 1
    assert response.headers["easel-ignored-parameters"] == "num_images"


class TestDelivery:
    @pytest.mark.parametrize(
        ("fields", "forms"),
        [
            ({}, {"url", "b64_json"}),
            ({"response_format": None}, {"url", "b64_json"}),
            ({"response_format": "b64_json"}, {"b64_json"}),
            ({"response_format": "url"}, {"url"}),
            ({"model": "GPT-Image-1.5"}, {"b64_json"}),
            ({"model": "chatgpt-image-latest"}, {"b64_json"}),
            ({"model": "gpt-image-1.5", "response_format": "url"}, {"url"}),
            ({"model": "dall-e-3"}, {"url", "b64_json"}),
        ],
    )
    async def test_is_as_clients_of_that_model_need_it(
        self, fields: dict[str, Any], forms: set[str], client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        first, *others = backend.current.models
        aliases = ("be-stable-diffusion-xl-base-1.0", "gpt-image-1.5", "chatgpt-image-latest", "dall-e-3")
        models = (first.model_copy(update={"aliases": aliases}), *others)
        backend.current = backend.current.model_copy(update={"models": models})
        (item,) = (await client.post(URL, json={"prompt": "otter", **fields})).json()["data"]
        assert item.keys() == forms | {"seed", "revised_prompt"}
        assert len(backend.kept) == ("url" in forms)


async def test_usage_counts_words_and_pixels(client: httpx.AsyncClient) -> None:
    body = {"prompt": "An otter, swimming!", "negative_prompt": "fog", "size": "520x504", "n": 3}
    assert (await client.post(URL, json=body)).json()["usage"] == {
        "input_tokens": 5,
        "output_tokens": 3 * 1024,  # 1023.75 each
        "total_tokens": 5 + 3 * 1024,
        "input_tokens_details": {"text_tokens": 5, "image_tokens": 0},
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("n", value) for value in (0, 11, -1, True, 1.0, "2", float("nan"), 2**40)],
        *[("size", value) for value in ("１０２４x1024", "1024X1024", "0x0", 1024)],
        *[("background", value) for value in ("transparent", "white", True)],
        *[("output_format", value) for value in ("svg", "gif")],
        *[("quality", value) for value in ("max", 1)],
        *[("partial_images", value) for value in (4, -1, True)],
        ("stream", "true"),
        ("response_format", "both"),
    ],
)
async def test_what_cannot_be_honoured_is_refused(
    field: str, value: object, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    content = json.dumps({"prompt": "otter", field: value})  # not `json=`, which refuses NaN
    response = await client.post(URL, content=content, headers={"content-type": "application/json"})
    assert f"'{field}'" in refused(response, 400, code="invalid_value", param=field)
    assert backend.requests == []


async def test_what_does_no_harm_is_taken_and_named(client: httpx.AsyncClient) -> None:
    harmless = {"moderation": "low", "style": "vivid", "safety_identifier": "x", "input_fidelity": "high"}
    known = {"user": "u", "background": "auto", "quality": "auto", "output_compression": 100}
    response = await client.post(URL, json={"prompt": "otter", **known, **harmless})
    assert response.status_code == 200
    assert response.headers["easel-ignored-parameters"] == ", ".join(harmless)


async def test_null_is_absent_everywhere(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    fields = "model n size quality response_format output_format output_compression stream partial_images moderation "
    fields += "background style user seed negative_prompt num_steps guidance_scale pose_image keypoints pose_end"
    response = await client.post(URL, json={"prompt": "otter", **dict.fromkeys(fields.split())})
    assert response.status_code == 200, response.text
    assert "easel-ignored-parameters" not in response.headers


async def test_options_answers_without_a_key(client: httpx.AsyncClient) -> None:
    for url in (URL, "/openai/v1/images/edits"):
        assert (await client.options(url)).status_code == 204


class TestSdk:
    async def test_every_parameter_it_has(self, sdk: openai.AsyncOpenAI, backend: FakeBackend) -> None:
        response = await sdk.images.with_raw_response.generate(
            prompt="otter",
            model="small",
            n=2,
            size="256x128",  # type: ignore[arg-type]
            quality="high",
            output_format="webp",
            output_compression=80,
            background="opaque",
            moderation="low",
            style="vivid",
            user="u",
            extra_body={"seed": 5, "num_steps": 3},
        )
        assert response.headers["easel-ignored-parameters"] == "moderation, style"
        answer = response.parse()
        assert (answer.size, answer.output_format, answer.background) == ("256x128", "webp", "opaque")
        assert answer.data is not None
        assert [item.model_extra for item in answer.data] == [{"seed": 5}, {"seed": 6}]
        assert all(item.url and item.b64_json for item in answer.data)
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.input_tokens + 2 * 128
        assert [(request.steps, request.quality) for request in backend.requests] == [(3, "high")] * 2

    async def test_errors_are_its_own(self, sdk: openai.AsyncOpenAI, backend: FakeBackend) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.images.generate(prompt="otter", background="transparent")
        assert (refused.value.param, refused.value.code) == ("background", "invalid_value")
        assert refused.value.request_id
        backend.failure = ModelUnavailable("loading")
        with pytest.raises(openai.InternalServerError) as failed:
            await sdk.images.generate(prompt="otter")
        assert failed.value.code == "model_loading"
        assert failed.value.response.headers["retry-after"]
