"""The official Python SDK against the running service."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.conftest import LiveService

MODEL = "be-stable-diffusion-xl-base-1.0"


@pytest.fixture
def sdk(service: LiveService) -> Any:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_a_prompt_alone(sdk: openai.OpenAI) -> None:
    response = sdk.images.generate(prompt="a cat", size="256x256")
    assert response.data is not None
    assert response.data[0].url is not None
    shown = httpx.get(response.data[0].url)
    assert Image.open(io.BytesIO(shown.content)).size == (256, 256)


def test_n_is_the_seed(sdk: openai.OpenAI) -> None:
    def picture(seed: int) -> tuple[str | None, Any]:
        response = sdk.images.generate(
            model=MODEL, prompt="a cat", n=seed, size="256x256", quality="low", response_format="b64_json"
        )
        assert response.data is not None
        assert len(response.data) == 1
        (item,) = response.data
        return item.b64_json, item.model_extra

    first, extra = picture(2)
    assert extra == {"seed": 2}
    assert first == picture(2)[0]
    assert first != picture(3)[0]
    assert base64.b64decode(first or "").startswith(b"\x89PNG")


def test_extensions_by_extra_body(sdk: openai.OpenAI) -> None:
    response = sdk.images.generate(
        prompt="a cat",
        output_format="webp",
        response_format="b64_json",
        extra_body={"size": "96x64", "num_steps": 2, "negative_prompt": "dog", "seed": 4, "guidance_scale": 3.5},
    )
    assert response.data is not None
    image = Image.open(io.BytesIO(base64.b64decode(response.data[0].b64_json or "")))
    assert (image.format, image.size) == ("WEBP", (96, 64))


def test_models(sdk: openai.OpenAI) -> None:
    (model,) = sdk.models.list().data
    assert model.id == "stabilityai/stable-diffusion-xl-base-1.0"
    assert sdk.models.retrieve(model.id).id == model.id
    assert sdk.models.retrieve(MODEL).id == model.id


def test_errors_are_the_sdks_own(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.images.generate(prompt="a cat", size="banana")  # type: ignore[call-overload]
    assert (refused.value.param, refused.value.type) == ("size", "invalid_request_error")
    assert refused.value.request_id
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.images.generate(prompt="a cat", model="dall-e-3")
    assert unknown.value.code == "model_not_found"


@pytest.mark.anyio
async def test_the_asynchronous_client(service: LiveService) -> None:
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="any", max_retries=0) as client:
        response = await client.images.generate(prompt="a cat", size="256x256", quality="low")
    assert response.data is not None
    assert response.data[0].url


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
