from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend, Refused

pytestmark = pytest.mark.anyio

NAME = "stabilityai/stable-diffusion-xl-base-1.0"
ALIAS = "be-stable-diffusion-xl-base-1.0"
MORE = ["easel/stable-diffusion-xl-pose", "black-forest-labs/FLUX.1-schnell", "black-forest-labs/FLUX.1-Fill-dev"]


async def test_every_model_is_listed(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/models")).json()
    assert (await client.get("/openai/v1/models")).json() == answer
    assert answer["object"] == "list"
    assert [model["id"] for model in answer["data"]] == [NAME, "small", *MORE]
    assert answer["data"][0] == {
        "id": NAME,
        "object": "model",
        "created": 0,
        "owned_by": "stabilityai",
        "aliases": [ALIAS],
        "is_default": True,
        "capabilities": ["text-to-image", "image-to-image", "inpainting"],
        "ignored_parameters": [],
        "limits": {
            "min_side": 64,
            "max_side": 2048,
            "max_pixels": 2048 * 2048,
            "max_aspect": 4.0,
            "max_steps": 100,
            "default_size": "1024x1024",
            "size_multiple": 8,
            "max_image_bytes": 4 * 2**20,
        },
    }
    assert answer["data"][1]["owned_by"] == "easel"
    assert [model["is_default"] for model in answer["data"]] == [True, False, False, False, False]
    assert answer["data"][3]["ignored_parameters"] == ["guidance_scale", "negative_prompt"]


@pytest.mark.parametrize("name", [NAME, ALIAS, NAME.upper(), NAME.replace("/", "%2F")])
async def test_model_is_found_by_name_and_alias(name: str, client: httpx.AsyncClient) -> None:
    response = await client.get(f"/v1/models/{name}")
    assert response.status_code == 200
    assert response.json() == (await client.get("/v1/models")).json()["data"][0]


@pytest.mark.parametrize("name", ["dall-e-3", "a/b/c", "", "%00", "%ff"])
async def test_unknown_model(name: str, client: httpx.AsyncClient, refused: Refused) -> None:
    response = await client.get(f"/v1/models/{name}")
    message = refused(response, 404, code="model_not_found", param="model")
    assert f"{NAME}, {ALIAS}, small" in message


async def test_change_of_settings_shows_at_once(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    renamed = backend.current.models[1].model_copy(update={"name": "renamed"})
    backend.current = backend.current.model_copy(update={"models": (backend.current.models[0], renamed)})
    assert (await client.get("/v1/models/renamed")).status_code == 200
    assert (await client.get("/v1/models/small")).status_code == 404
