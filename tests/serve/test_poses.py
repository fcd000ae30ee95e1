"""A pose from a photo, and a picture that follows it, over the running service."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image
from skimage.data import astronaut

if TYPE_CHECKING:
    from tests.conftest import LiveService

RED = (255, 0, 0)  # of the nose


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def opened(in_base64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(in_base64))).convert("RGB")


def find(client: httpx.Client, url: str, picture: Image.Image) -> httpx.Response:
    return client.post(url, files={"image": ("photo.png", png(picture), "image/png")})


@pytest.fixture
def photo() -> Image.Image:
    """Of somebody, 512 by 512 pixels."""
    return Image.fromarray(astronaut())


@pytest.mark.parametrize("url", ["/v1/poses", "/openai/v1/poses"])
def test_somebody_is_found(url: str, client: httpx.Client, service: LiveService, photo: Image.Image) -> None:
    calls_before = service.denoising_calls()
    answer: dict[str, Any] = find(client, url, photo).raise_for_status().json()
    keypoints, skeleton = answer["keypoints"], opened(answer["b64_json"])
    assert (keypoints["canvas_width"], keypoints["canvas_height"]) == skeleton.size == (512, 512)
    (somebody,) = keypoints["people"]
    x, y, confidence = somebody["pose_keypoints_2d"][:3]
    assert (x, y, confidence) == (pytest.approx(223, abs=10), pytest.approx(128, abs=10), 1.0)
    assert skeleton.getpixel((int(x), int(y))) == RED
    assert service.denoising_calls() == calls_before


def test_what_was_found_can_be_followed(client: httpx.Client, photo: Image.Image) -> None:
    """The same skeleton comes back as with the photo itself."""
    found = find(client, "/v1/poses", photo).raise_for_status().json()
    common = {"prompt": "an otter", "model": "easel/stable-diffusion-xl-pose", "size": "256x256", "num_steps": 1}
    common["response_format"] = "b64_json"
    sent: list[dict[str, Any]] = [{"keypoints": found["keypoints"]}, {"image": base64.b64encode(png(photo)).decode()}]
    urls = ("/v1/images/generations", "/v1/images/edits")
    made = [client.post(url, json={**common, **each}).raise_for_status() for url, each in zip(urls, sent, strict=True)]
    by_joints, by_photo = [opened(each.json()["data"][0]["b64_json_pose"]) for each in made]
    assert by_joints.tobytes() == by_photo.tobytes()


def test_nobody_is_found_in_an_empty_picture(client: httpx.Client) -> None:
    response = find(client, "/v1/poses", Image.new("RGB", (256, 256), "white"))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "no_pose_found", "image")
