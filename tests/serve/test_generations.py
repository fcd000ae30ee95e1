"""What a client gets from the running service, over a real socket."""

from __future__ import annotations

import base64
import io
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

SMALL = {"prompt": "a red circle on a blue background", "size": "64x64", "num_steps": 4}


def generate(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/images/generations", json=SMALL | body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def b64_picture(client: httpx.Client, **body: Any) -> bytes:
    (item,) = generate(client, response_format="b64_json", **body)["data"]
    return base64.b64decode(item["b64_json"])


def test_a_prompt_alone_gives_a_url_that_shows_a_picture(client: httpx.Client) -> None:
    response = client.post("/v1/images/generations", json={"prompt": "a red circle on a blue background"})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert abs(answer["created"] - time.time()) < 60
    (item,) = answer["data"]
    assert item["url"].startswith(str(client.base_url))
    assert re.fullmatch(r".*/images/[^?/]+\.png", item["url"].split("?")[0])
    shown = httpx.get(item["url"], timeout=60)  # without a key, as a browser does
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(shown.content)).size == (1024, 1024)
    assert pixels(shown.content).std() > 5  # neither black nor flat


@pytest.mark.parametrize("size", ["64x64", "256x256", "512x512", "96x160", "auto"])
def test_sizes(client: httpx.Client, size: str) -> None:
    picture = Image.open(io.BytesIO(b64_picture(client, size=size, num_steps=1)))
    assert f"{picture.width}x{picture.height}" == ("256x256" if size == "auto" else size)


@pytest.mark.parametrize(("output_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_formats_by_b64_and_by_url(client: httpx.Client, output_format: str, kind: str) -> None:
    assert Image.open(io.BytesIO(b64_picture(client, output_format=output_format))).format == kind
    (item,) = generate(client, output_format=output_format)["data"]
    shown = httpx.get(item["url"], timeout=60)
    assert shown.headers["content-type"] == f"image/{output_format}"
    assert Image.open(io.BytesIO(shown.content)).format == kind


def test_the_same_seed_gives_the_same_bytes(client: httpx.Client) -> None:
    assert b64_picture(client, n=7) == b64_picture(client, n=7)
    assert b64_picture(client, n=7) == b64_picture(client, n=1, seed=7)
    assert b64_picture(client, n=7) != b64_picture(client, n=8)


def test_in_company_the_same_seed_gives_the_same_picture_to_one_step_of_255(client: httpx.Client) -> None:
    alone = pixels(b64_picture(client, n=7))
    with ThreadPoolExecutor(8) as pool:
        company = list(pool.map(lambda seed: b64_picture(client, n=seed), [7, 1, 2, 3, 4, 5, 6, 7]))
    for picture in (company[0], company[-1]):
        assert np.abs(pixels(picture) - alone).max() <= 1
    assert np.abs(pixels(company[1]) - alone).max() > 1


def test_without_a_seed_pictures_differ_and_the_seed_is_reported(client: httpx.Client) -> None:
    first, second = (generate(client, response_format="b64_json")["data"][0] for _ in range(2))
    assert first["seed"] != second["seed"]
    assert first["b64_json"] != second["b64_json"]
    again = generate(client, response_format="b64_json", seed=first["seed"])["data"][0]
    assert again["b64_json"] == first["b64_json"]


def test_several_pictures_take_the_seeds_that_follow(client: httpx.Client) -> None:
    data = generate(client, num_images=3, seed=41, response_format="b64_json")["data"]
    assert [item["seed"] for item in data] == [41, 42, 43]
    assert base64.b64decode(data[2]["b64_json"]) == b64_picture(client, seed=43) or (
        np.abs(pixels(base64.b64decode(data[2]["b64_json"])) - pixels(b64_picture(client, seed=43))).max() <= 1
    )


def test_quality_is_a_preset_of_steps(client: httpx.Client) -> None:
    without_steps = {"num_steps": None, "seed": 3}
    smooth = b64_picture(client, **without_steps)
    assert smooth == b64_picture(client, quality="auto", **without_steps)
    assert smooth == b64_picture(client, seed=3, num_steps=8)
    assert smooth != b64_picture(client, quality="standard", **without_steps)


def test_every_parameter_reaches_the_model(client: httpx.Client) -> None:
    plain = b64_picture(client, seed=3)
    for change in (
        {"negative_prompt": "blurry"},
        {"guidance_scale": 9.0},
        {"num_steps": 5},
        {"prompt": "a green star"},
    ):
        assert np.abs(pixels(b64_picture(client, **({"seed": 3} | change))) - pixels(plain)).max() > 1, change


def test_models_by_name_and_alias(client: httpx.Client) -> None:
    names = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert names == [
        "stabilityai/stable-diffusion-xl-base-1.0",
        "black-forest-labs/FLUX.1-schnell",
        "black-forest-labs/FLUX.1-Fill-dev",
        "easel/stable-diffusion-xl-pose",
    ]
    assert client.get(f"/v1/models/{names[0]}").json()["capabilities"]
    for model in (names[0], "be-stable-diffusion-xl-base-1.0", "BE-Stable-Diffusion-XL-base-1.0"):
        assert b64_picture(client, model=model, seed=1) == b64_picture(client, seed=1)


def test_links_are_bound_to_path_expiry_and_signature(client: httpx.Client) -> None:
    url = httpx.URL(generate(client)["data"][0]["url"])
    assert int(url.params["expires"]) == pytest.approx(time.time() + 3600, abs=60)
    changed = [
        url.copy_set_param("expires", str(int(url.params["expires"]) + 1)),
        url.copy_set_param("signature", "A" + url.params["signature"][1:]),
        url.copy_with(path=url.path.replace(".png", ".webp")),
        url.copy_remove_param("signature"),
    ]
    for link in changed:
        if link != url:
            assert httpx.get(link, timeout=60).status_code == 403, link


def test_service_routes(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert "running (1 replica)" in ready.text
    assert "swagger" in client.get("/docs").text.lower()
    assert "content-length" in client.get("/swagger/swagger-ui-bundle.js").headers
    assert client.get("/openapi.json").json()["info"]["title"] == "Easel"


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/nowhere", "/v1/images/generations"])
def test_one_request_id_and_the_callers_own(client: httpx.Client, path: str) -> None:
    response = client.get(path, headers={"x-request-id": "mine-1"})
    assert response.headers.get_list("x-request-id") == ["mine-1"]
    assert client.get(path).headers["x-request-id"]
