"""Each model of the running service: what it makes, from what, and what it refuses."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
SCHNELL = "black-forest-labs/FLUX.1-schnell"
FILL = "black-forest-labs/FLUX.1-Fill-dev"
POSE = "easel/stable-diffusion-xl-pose"

RAISED_ARM = [0.5, 0.2, 1, 0.5, 0.35, 1, 0.4, 0.35, 1, 0.35, 0.2, 1, 0.35, 0.05, 1, *[0.0] * 39]


def picture(client: httpx.Client, **body: Any) -> np.ndarray:
    asked = {"prompt": "a cat", "size": "64x64", "num_steps": 3, "n": 1, "response_format": "b64_json", **body}
    route = "edits" if "image" in body else "generations"
    response = client.post(f"/v1/images/{route}", json=asked)
    assert response.status_code == 200, response.text
    (item,) = response.json()["data"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))).convert("RGB")).astype(int)


def hole() -> str:
    """A picture with a transparent half, in base64."""
    image, file = Image.new("RGBA", (64, 64), "orange"), io.BytesIO()
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"model": SCHNELL}, id="schnell"),
        pytest.param({"model": FILL, "image": hole()}, id="fill"),
        pytest.param({"model": SDXL, "image": hole()}, id="sdxl edit"),
        pytest.param({"model": POSE}, id="pose model without a pose"),
        pytest.param({"model": POSE, "keypoints": {"people": [{"pose_keypoints_2d": RAISED_ARM}]}}, id="pose"),
    ],
)
def test_a_seed_makes_a_picture_of_its_own(client: httpx.Client, asked: dict[str, Any]) -> None:
    first = picture(client, **asked)
    assert np.abs(picture(client, **asked) - first).max() <= 1
    assert np.abs(picture(client, **asked, seed=2) - first).max() > 1
    assert np.abs(picture(client, **{**asked, "prompt": "a green star"}) - first).max() > 1


def test_a_pose_changes_the_picture_as_strongly_as_it_is_told_to(client: httpx.Client) -> None:
    pose = {"model": POSE, "keypoints": {"people": [{"pose_keypoints_2d": RAISED_ARM}]}}
    without = picture(client, model=POSE)
    changes = [np.abs(picture(client, **pose, pose_strength=strength) - without).mean() for strength in (0, 0.2, 1)]
    assert changes[0] < 1
    assert changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("model", [SDXL, POSE, SCHNELL])
def test_weights_of_words_change_the_picture_and_their_digits_do_not(client: httpx.Client, model: str) -> None:
    as_it_is = picture(client, model=model, prompt="a red circle on a blue background")
    weighted = picture(client, model=model, prompt="a (red)1.5 circle on a blue(0.5) background")
    assert np.abs(weighted - as_it_is).mean() > 2
    # Alone, the same text makes the same picture to the bit.
    written = picture(client, model=model, prompt="a red(1.0) circle on a (blue:1) background")
    assert (written == as_it_is).all()


def test_what_comes_after_77_tokens_counts(client: httpx.Client) -> None:
    long = "a cat, " * 60
    red, blue = (picture(client, prompt=f"{long} a {colour} circle") for colour in ("red", "blue"))
    assert np.abs(red - blue).max() > 20


@pytest.mark.parametrize(
    ("asked", "status", "code", "param"),
    [
        pytest.param({"model": FILL}, 400, "unsupported_capability", "model", id="fill without an image"),
        pytest.param(
            {"model": SCHNELL, "image": hole()}, 400, "unsupported_capability", "model", id="schnell with one"
        ),
        pytest.param(
            {"model": SCHNELL, "prompt": "cat " * 300}, 413, "prompt_too_long", "prompt", id="long for schnell"
        ),
        pytest.param({"model": POSE, "image": hole()}, 400, "no_pose_found", "image", id="nobody"),
        pytest.param({"model": SDXL, "image": hole(), "mask": "AAAA"}, 415, "invalid_image", "mask", id="no mask"),
        pytest.param({"user": "cn", "model": SCHNELL, "image": hole()}, 400, None, "model", id="schnell and a pose"),
    ],
)
def test_what_a_model_cannot_do_is_refused(
    client: httpx.Client, asked: dict[str, Any], status: int, code: str | None, param: str
) -> None:
    route = "edits" if "image" in asked else "generations"
    response = client.post(f"/v1/images/{route}", json={"prompt": "a cat", "size": "64x64", **asked})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param)
    assert code is None or error["code"] == code


def test_sillytavern_and_open_webui_find_what_they_look_up(client: httpx.Client) -> None:
    models = client.get("/sdapi/v1/sd-models").json()
    assert SDXL in [model["title"] for model in models]
    assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == SDXL
    assert client.request("OPTIONS", "/v1/images/generations").status_code == 204
    asked = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 3}
    answer = client.post("/sdapi/v1/txt2img", json=asked).json()
    assert Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).size == (64, 64)


def test_nebulas_errors_have_their_shape_behind_the_proxy(client: httpx.Client) -> None:
    response = client.request("GET", "/api/v1/images/generation", json={"model": SDXL, "prompt": "a", "width": 7})
    body = response.json()
    assert (response.status_code, body["status"], body["error"]["param"]) == (400, "error", "width")
