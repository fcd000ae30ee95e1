from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI

from deployments.errors import Overloaded

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend, Refused

pytestmark = pytest.mark.anyio

URL = "/sdapi/v1/txt2img"
OPTIONS = "/sdapi/v1/options"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
POSE = "easel/stable-diffusion-xl-pose"
SCHNELL = "black-forest-labs/FLUX.1-schnell"
FILL = "black-forest-labs/FLUX.1-Fill-dev"


async def test_every_field_reaches_the_request(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    body = {
        "prompt": " {otter} ",
        "model": "SMALL",
        "negative_prompt": "fog",
        "width": 256,
        "height": 128,
        "steps": 7,
        "cfg_scale": 3.5,
        "seed": 2**32 - 1,
        "batch_size": 1,
        "n_iter": 2,
    }
    response = await client.post(URL, json=body, headers={"x-request-id": "mine"})
    assert response.status_code == 200, response.text
    assert "easel-ignored-parameters" not in response.headers
    first, second = backend.requests
    assert backend.routes[0].name == first.model == "small"
    assert (first.request_id, first.prompt, first.negative_prompt) == ("mine", "{otter}", "fog")
    assert (first.width, first.height, first.steps, first.guidance_scale) == (256, 128, 7, 3.5)
    assert (first.seed, second.seed, first.output_format) == (2**32 - 1, 0, "png")

    answer = response.json()
    assert [base64.b64decode(image) for image in answer["images"]] == [
        backend.picture_of(request) for request in backend.requests
    ]
    parameters = {
        "prompt": "{otter}",
        "negative_prompt": "fog",
        "seed": 2**32 - 1,
        "width": 256,
        "height": 128,
        "sampler_name": "Automatic",
        "cfg_scale": 3.5,
        "steps": 7,
        "batch_size": 1,
        "n_iter": 2,
        "sd_model_name": "small",
    }
    text = (
        "{{otter}}\nNegative prompt: fog\nSteps: 7, Sampler: Automatic, CFG scale: 3.5, Seed: {}, Size: 256x128, "
        "Model: small"
    )
    assert answer["parameters"] == parameters
    assert json.loads(answer["info"]) == {
        **parameters,
        "all_prompts": ["{otter}"] * 2,
        "all_negative_prompts": ["fog"] * 2,
        "all_seeds": [2**32 - 1, 0],
        "infotexts": [text.format(2**32 - 1), text.format(0)],
        "index_of_first_image": 0,
    }


async def test_prompt_is_enough(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    answer = (await client.post(URL, json={"prompt": "otter"})).json()
    (request,) = backend.requests
    assert (request.model, request.width, request.height) == (SDXL, 1024, 1024)
    assert (request.steps, request.guidance_scale) == (None, None)
    assert (answer["parameters"]["steps"], answer["parameters"]["cfg_scale"]) == (4, 5.0)  # what was used
    assert json.loads(answer["info"])["all_seeds"] == [request.seed] == [answer["parameters"]["seed"]]


@pytest.mark.parametrize(
    ("sides", "made"),
    [({}, (256, 128)), ({"width": 128}, (128, 128)), ({"height": 256}, (256, 256)), ({"width": None}, (256, 128))],
)
async def test_side_that_is_not_given_is_the_models_own(
    sides: dict[str, int], made: tuple[int, int], client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    response = await client.post(URL, json={"prompt": "otter", "model": "small", **sides})
    assert response.status_code == 200, response.text
    assert (backend.requests[0].width, backend.requests[0].height) == made


@pytest.mark.parametrize("seed", [{}, {"seed": -1}, {"seed": None}])
async def test_seed_is_random_when_absent_or_minus_one(
    seed: dict[str, int], client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    for _ in range(4):
        await client.post(URL, json={"prompt": "otter", **seed})
    assert len({request.seed for request in backend.requests}) == 4


async def test_pictures_have_seeds_in_a_row(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    body = {"prompt": "otter", "seed": 3, "batch_size": 2, "n_iter": 5}
    answer = (await client.post(URL, json=body)).json()
    assert json.loads(answer["info"])["all_seeds"] == list(range(3, 13))
    assert len(answer["images"]) == 10


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({"model": SCHNELL}, SCHNELL),
        ({"override_settings": {"sd_model_checkpoint": SCHNELL.upper()}}, SCHNELL),
        ({"model": "small", "override_settings": {"sd_model_checkpoint": SCHNELL}}, "small"),
        ({"model": None, "override_settings": {"sd_model_checkpoint": None}}, SDXL),
        ({"override_settings": None}, SDXL),
        ({"model": POSE}, POSE),
    ],
)
async def test_request_names_its_model(
    fields: dict[str, Any], model: str, client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    body = {"prompt": "otter", "width": 256, "height": 256, **fields}
    response = await client.post(URL, json=body)
    assert response.status_code == 200, response.text
    assert backend.routes[0].name == response.json()["parameters"]["sd_model_name"] == model
    assert "easel-ignored-parameters" not in response.headers


async def test_request_of_sillytavern(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    body = {
        "url": "http://easel.test",
        "auth": "user:secret",
        "prompt": "otter",
        "negative_prompt": "fog",
        "sampler_name": "Automatic",
        "scheduler": "automatic",
        "steps": 20,
        "cfg_scale": 7,
        "width": 512,
        "height": 512,
        "restore_faces": False,
        "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "none"},
        "override_settings_restore_afterwards": True,
        "clip_skip": 1,
    }
    response = await client.post(URL, json=body)
    assert response.status_code == 200, response.text
    assert set(response.headers["easel-ignored-parameters"].split(", ")) == {
        "sampler_name",
        "scheduler",
        "url",
        "auth",
        "restore_faces",
        "override_settings_restore_afterwards",
        "clip_skip",
        "override_settings.CLIP_stop_at_last_layers",
        "override_settings.sd_vae",
    }
    assert "secret" not in response.text
    assert (backend.requests[0].steps, backend.requests[0].guidance_scale) == (20, 7.0)


async def test_field_without_meaning_for_the_model_is_named_as_it_was_sent(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json={"prompt": "otter", "model": SCHNELL, "cfg_scale": 7})
    assert response.headers["easel-ignored-parameters"] == "cfg_scale"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", ""),
        ("model", 5),
        ("override_settings", "small"),
        ("negative_prompt", 5),
        ("width", 0),
        ("height", 512.0),
        ("steps", 0),
        ("steps", 101),
        ("cfg_scale", float("nan")),
        ("cfg_scale", 31),
        ("seed", -2),
        ("seed", 2**32),
        ("batch_size", 0),
        ("batch_size", 11),
        ("n_iter", True),
        ("sampler_name", 5),
        ("scheduler", ["automatic"]),
    ],
)
async def test_bad_field_is_named(
    field: str, value: object, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    content = json.dumps({"prompt": "otter", field: value}).encode()
    response = await client.post(URL, content=content, headers={"content-type": "application/json"})
    assert f"'{field}'" in refused(response, 400, param=field)
    assert backend.requests == []


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"width": 72, "height": 60}, 400, "height"),
        ({"width": 520, "height": 256}, 400, "width"),
        ({"steps": 11}, 400, "steps"),
        ({"batch_size": 4, "n_iter": 3}, 400, "n_iter"),
        ({"model": "dall-e-3"}, 404, "model"),
        ({"model": FILL}, 400, "model"),
        ({"model": None, "override_settings": {"sd_model_checkpoint": "v1-5"}}, 404, "override_settings."),
        ({"model": None, "override_settings": {"sd_model_checkpoint": FILL}}, 400, "override_settings."),
        ({"model": None, "override_settings": {"sd_model_checkpoint": 5}}, 400, "override_settings."),
    ],
)
async def test_what_the_model_does_not_do_is_refused_in_the_dialects_words(
    fields: dict[str, Any], status: int, param: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    response = await client.post(URL, json={"prompt": "otter", "model": "small", **fields})
    refused(response, status, param=param if "." not in param else f"{param}sd_model_checkpoint")
    assert backend.requests == []


async def test_error_of_the_backend_reaches_the_client(
    client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    backend.failure = Overloaded("Full.")
    assert refused(await client.post(URL, json={"prompt": "otter"}), 503, code="server_is_overloaded") == "Full."


async def test_only_models_that_make_pictures_from_text_are_listed(client: httpx.AsyncClient) -> None:
    models = (await client.get("/sdapi/v1/sd-models")).json()
    assert [model["title"] for model in models] == [SDXL, "small", POSE, SCHNELL]
    assert models[0] == {
        "title": SDXL,
        "model_name": SDXL,
        "name": SDXL,
        "filename": SDXL,
        "hash": None,
        "sha256": None,
        "config": None,
    }
    for model in models:
        body = {"prompt": "otter", "width": 256, "height": 256, "model": model["title"]}
        assert (await client.post(URL, json=body)).status_code == 200


async def test_options_show_the_model_of_a_request_that_names_none(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    assert (await client.get(OPTIONS)).json() == {"sd_model_checkpoint": SDXL}
    backend.current = backend.current.model_copy(update={"default_model": "SMALL"})
    assert (await client.get(OPTIONS)).json() == {"sd_model_checkpoint": "small"}


@pytest.mark.parametrize("name", [SDXL, "BE-stable-diffusion-xl-base-1.0", None])
async def test_model_in_force_may_be_asked_for(name: str | None, client: httpx.AsyncClient) -> None:
    response = await client.post(OPTIONS, json={"sd_model_checkpoint": name, "forge_preset": "sdxl"})
    assert (response.status_code, response.json()) == (200, {"sd_model_checkpoint": SDXL})
    assert response.headers["easel-ignored-parameters"] == "forge_preset"


async def test_another_model_is_not_believed_to_be_in_force(
    client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    response = await client.post(OPTIONS, json={"sd_model_checkpoint": SCHNELL})
    message = refused(response, 400, code="unsupported_option", param="sd_model_checkpoint")
    assert f"stays {SDXL}" in message
    assert f"send {SCHNELL} as `model`" in message
    response = await client.post(OPTIONS, json={"sd_model_checkpoint": "v1-5"})
    assert SDXL in refused(response, 404, code="model_not_found", param="sd_model_checkpoint")
    assert (await client.get(OPTIONS)).json() == {"sd_model_checkpoint": SDXL}
    await client.post(URL, json={"prompt": "otter"})
    assert backend.routes[0].name == SDXL


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("samplers", [{"name": "Automatic", "aliases": [], "options": {}}]),
        ("schedulers", [{"name": "automatic", "label": "Automatic"}]),
        ("upscalers", [{"name": "None"}]),
        ("latent-upscale-modes", []),
        ("sd-vae", []),
        ("progress", {"progress": 0, "eta_relative": 0, "state": {"job_count": 0}, "current_image": None}),
    ],
)
async def test_what_clients_look_up(path: str, answer: object, client: httpx.AsyncClient) -> None:
    response = await client.get(f"/sdapi/v1/{path}")
    assert (response.status_code, response.json()) == (200, answer)


async def test_interrupt_is_taken(client: httpx.AsyncClient) -> None:
    response = await client.post("/sdapi/v1/interrupt")
    assert (response.status_code, response.json()) == (200, {})


@pytest.mark.parametrize(("method", "path"), [("HEAD", OPTIONS), ("OPTIONS", OPTIONS), ("OPTIONS", URL)])
async def test_pings_are_answered_without_a_key(method: str, path: str, client: httpx.AsyncClient) -> None:
    response = await client.request(method, path)
    assert response.is_success
    assert response.content == b""


async def test_unknown_route(client: httpx.AsyncClient, refused: Refused) -> None:
    refused(await client.post("/sdapi/v1/img2img", json={"prompt": "otter"}), 404, code="not_found")
    refused(await client.post(URL, content=b"otter"), 400, code="invalid_body")


def test_every_field_is_documented(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    for path in (URL, OPTIONS):
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        for name, field in schema["properties"].items():
            assert field["description"].endswith("."), name
            assert field["examples"], name
            assert name == "prompt" or {"type": "null"} in field["anyOf"], name
        assert "$ref" not in json.dumps(schema)
