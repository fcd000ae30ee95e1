"""The official Python SDK against the running service."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from deployments.errors import Overloaded
from serve_app.errors import error_response
from tests.clients.conftest import kept, opened

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
    shown = httpx.get(response.data[0].url, timeout=60)
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
    model, *others = sdk.models.list().data
    assert {"black-forest-labs/FLUX.1-Fill-dev", "easel/stable-diffusion-xl-pose"} < {each.id for each in others}
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


class TestEdits:
    @pytest.mark.parametrize("model", [MODEL, "be-flux-1-fill-dev"])
    def test_what_the_mask_keeps_is_kept_bit_for_bit(
        self, sdk: openai.OpenAI, pictures: Path, image: Image.Image, mask: Image.Image, model: str
    ) -> None:
        response = sdk.images.edit(
            model=model,
            image=pictures / "image.png",
            mask=(pictures / "mask.png").read_bytes(),
            prompt="a red circle",
            size="auto",
            quality="low",
            response_format="b64_json",
        )
        assert response.data is not None
        assert kept(opened(response.data[0].b64_json), image, mask)

    def test_a_mask_of_openais_kind(self, sdk: openai.OpenAI, pictures: Path, image: Image.Image) -> None:
        transparent = Image.new("RGBA", image.size, "black")
        transparent.paste((0, 0, 0, 0), (0, 0, 40, 30))
        response = sdk.images.edit(
            image=pictures / "image.png",
            mask=("mask.png", png(transparent)),
            prompt="a red circle",
            size="auto",
            quality="low",
            response_format="b64_json",
        )
        white = Image.new("L", image.size, 0)
        white.paste(255, (0, 0, 40, 30))
        assert response.data is not None
        assert kept(opened(response.data[0].b64_json), image, white)

    def test_a_larger_size_paints_around_the_picture(self, sdk: openai.OpenAI, pictures: Path) -> None:
        picture = Image.new("RGBA", (128, 128), "red")
        picture.putpixel((0, 0), (0, 0, 0, 0))
        response = sdk.images.edit(
            model="be-flux-1-fill-dev",
            image=("picture.png", png(picture)),
            prompt="a red background",
            size="256x128",  # type: ignore[arg-type]
            n=1,
            quality="low",
            response_format="b64_json",
        )
        assert response.data is not None
        wide = opened(response.data[0].b64_json).convert("RGB")
        assert wide.size == (256, 128)
        assert wide.crop((65, 1, 192, 128)).getcolors() == [(127 * 127, (255, 0, 0))]
        for around in ((0, 0, 64, 128), (192, 0, 256, 128)):
            painted = np.asarray(wide.crop(around)).astype(int)
            assert np.abs(painted.mean((0, 1)) - (220, 40, 40)).max() < 40  # the red that the small model paints
            assert np.abs(painted - (255, 0, 0)).max(-1).min() > 0  # and not the picture's own

    def test_a_pose(self, sdk: openai.OpenAI, person: Path) -> None:
        response = sdk.images.edit(
            model=MODEL, image=person, prompt="a robot", size="256x256", user="cn", quality="low"
        )
        assert response.data is not None
        (item,) = response.data
        extra = item.model_extra or {}
        assert opened(extra["url_image"]).size == opened(extra["url_pose"]).size == (256, 256)
        assert item.url == extra["url_image"]
        joints = extra["keypoints"]["people"][0]["pose_keypoints_2d"]
        again = sdk.images.generate(
            model="easel/stable-diffusion-xl-pose",
            prompt="a robot",
            n=extra["seed"],
            size="256x256",
            quality="low",
            extra_body={"keypoints": extra["keypoints"]},
        )
        assert len(joints) == 54
        assert again.data is not None
        # The joints that were found make the skeleton, and with the seed the picture, once more.
        skeletons = [opened(each["url_pose"]) for each in (extra, again.data[0].model_extra or {})]
        assert skeletons[0].tobytes() == skeletons[1].tobytes()

    def test_nobody_in_the_picture(self, sdk: openai.OpenAI, pictures: Path) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            sdk.images.edit(image=pictures / "image.png", prompt="a robot", size="256x256", user="cn")
        assert (refused.value.code, refused.value.param) == ("no_pose_found", "image")


class TestStreams:
    def test_previews_then_the_picture_that_comes_without_them(self, sdk: openai.OpenAI) -> None:
        asked: Any = {"prompt": "a cat", "size": "256x256", "n": 5, "extra_body": {"num_steps": 12}}
        with sdk.images.generate(stream=True, partial_images=3, **asked) as stream:
            events = list(stream)
        kinds = [type(event).__name__ for event in events]
        assert kinds == ["ImageGenPartialImageEvent"] * 3 + ["ImageGenCompletedEvent"]
        pictures = [opened(event.b64_json) for event in events]
        assert {picture.size for picture in pictures} == {(256, 256)}
        assert len({picture.tobytes() for picture in pictures}) == 4
        assert all(np.asarray(picture).std() > 1 for picture in pictures)
        alone = sdk.images.generate(response_format="b64_json", **asked)
        assert np.abs(np.asarray(opened(alone.data[0].b64_json)).astype(int) - np.asarray(pictures[-1])).max() <= 1

    def test_edits_stream_as_well(self, sdk: openai.OpenAI, pictures: Path, image: Image.Image) -> None:
        with sdk.images.edit(
            image=pictures / "image.png",
            mask=pictures / "mask.png",
            prompt="a cat",
            size="auto",
            stream=True,
            partial_images=1,
        ) as stream:
            preview, completed = list(stream)
        assert (preview.type, completed.type) == ("image_edit.partial_image", "image_edit.completed")
        for event in (preview, completed):  # a preview, too, shows what is kept
            right = opened(event.b64_json).convert("RGB").crop((48, 0, 96, 64))
            assert np.array_equal(np.asarray(right), np.asarray(image.crop((48, 0, 96, 64))))

    @pytest.mark.anyio
    async def test_the_asynchronous_client(self, service: LiveService) -> None:
        async with openai.AsyncOpenAI(base_url=f"{service.url}/openai/v1", api_key="any", max_retries=0) as client:
            stream = await client.images.generate(prompt="a cat", size="64x64", n=2, stream=True)
            kinds = [event.type async for event in stream]
        assert kinds == ["image_generation.completed"] * 2

    def test_what_is_refused_has_its_status(self, sdk: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError):
            sdk.images.generate(prompt="a cat", size="7x7", stream=True)  # type: ignore[call-overload]

    def test_hanging_up_ends_the_work(self, service: LiveService, sdk: openai.OpenAI) -> None:
        with sdk.images.generate(
            prompt="a cat", size="512x512", stream=True, partial_images=3, extra_body={"num_steps": 100}
        ) as stream:
            next(iter(stream))
        deadline = time.monotonic() + 30
        while service.engine().running:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert service.engine().cancelled > 0


class TestPlainDialect:
    @pytest.fixture
    def plain(self, service: LiveService) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=f"{service.url}/openai/v1", api_key="any", max_retries=0) as client:
            yield client

    def test_n_is_a_number_of_pictures(self, plain: openai.OpenAI) -> None:
        response = plain.images.generate(prompt="a cat", n=3, size="64x64", extra_body={"seed": 8})  # type: ignore[call-overload]
        assert [item.model_extra["seed"] for item in response.data] == [8, 9, 10]
        for item in response.data:
            assert opened(item.b64_json).tobytes() == opened(item.url).tobytes()
        assert response.usage.output_tokens == 3 * 16

    def test_no_size_is_the_models_own(self, plain: openai.OpenAI) -> None:
        response = plain.images.generate(prompt="a cat", model="black-forest-labs/FLUX.1-schnell")
        assert response.size == "256x256"

    def test_a_pose_by_the_models_name_in_both_forms(self, plain: openai.OpenAI, person: Path) -> None:
        response = plain.images.edit(
            model="easel/stable-diffusion-xl-pose",
            image=person,
            prompt="a robot",
            size="64x64",
            quality="low",  # type: ignore[arg-type]
        )
        assert response.data is not None
        extra = response.data[0].model_extra or {}
        assert opened(extra["b64_json_pose"]).tobytes() == opened(extra["url_pose"]).tobytes()


def test_a_full_service_is_asked_again(service: LiveService) -> None:
    """The SDK's own retries, against what a server of ours answers when it cannot serve now."""
    tries = []

    with httpx.HTTPTransport() as to_the_service:

        def answer(request: httpx.Request) -> httpx.Response:
            tries.append(request)
            if len(tries) > 1:
                return to_the_service.handle_request(request)
            refusal = error_response(Overloaded("Full.", retry_after_seconds=1), {"path": request.url.path})
            return httpx.Response(refusal.status_code, headers=dict(refusal.headers), content=bytes(refusal.body))

        http_client = httpx.Client(transport=httpx.MockTransport(answer))
        with openai.OpenAI(base_url=f"{service.url}/v1", api_key="any", http_client=http_client) as client:
            assert client.images.generate(prompt="a cat", size="64x64", quality="low").data  # type: ignore[arg-type]
    assert len(tries) == 2


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
