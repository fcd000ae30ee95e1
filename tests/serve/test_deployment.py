"""The model's deployment, reached by its handle as the ingress reaches it."""

from __future__ import annotations

import base64
import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import yaml
from PIL import Image
from ray import serve

from config.schema import ModelConfig
from deployments.diffusion import Diffusion
from deployments.types import ImageRequest, ImageResult, Progress, Standing

if TYPE_CHECKING:
    from tests.conftest import LiveService

LOCAL = Path(__file__).resolve().parents[2] / "config" / "local.yaml"


def request(**changes: Any) -> ImageRequest:
    common: dict[str, Any] = {
        "request_id": "test",
        "model": "stabilityai/stable-diffusion-xl-base-1.0",
        "prompt": "a red circle on a blue background",
        "width": 64,
        "height": 64,
        "seed": 1,
        "standing": Standing(deadline=time.time() + 120),
    }
    return ImageRequest(**(common | changes))


def pixels(response: httpx.Response) -> np.ndarray:
    picture = base64.b64decode(response.json()["data"][0]["b64_json"])
    return np.asarray(Image.open(io.BytesIO(picture))).astype(int)


def test_a_stream_tells_each_step_and_ends_with_the_picture(service: LiveService) -> None:
    handle = serve.get_app_handle("sdxl").options(stream=True)
    *steps, result = handle.stream.remote(request(steps=5))
    assert all(isinstance(each, Progress) and each.steps == 5 for each in steps)
    told = [each.step for each in steps]
    assert sorted(set(told)) == list(range(6))
    assert told == sorted(told)
    assert isinstance(result, ImageResult)
    assert Image.open(io.BytesIO(result.image)).size == (64, 64)
    assert (result.seed, result.steps) == (1, 5)
    assert result.inference_seconds > 0


def test_a_removed_deployment_finishes_what_it_has_accepted(service: LiveService) -> None:
    """A second application of the same model, deleted while a request of it runs."""
    application = next(one for one in yaml.safe_load(LOCAL.read_text())["applications"] if one["name"] == "sdxl")
    deployment = serve.deployment(
        Diffusion,
        name="Diffusion",
        ray_actor_options={"num_cpus": 0.5},
        user_config=application["deployments"][0]["user_config"],
        graceful_shutdown_timeout_s=60,
    )
    config = ModelConfig.model_validate(application["args"] | {"warm_up_sizes": []})
    handle = serve.run(deployment.bind(config), name="second", route_prefix=None)
    pending = handle.generate.remote(request(width=256, height=256, steps=40))
    while not handle.statistics.remote().result(timeout_s=30).forwards:
        time.sleep(0.05)
    serve.delete("second")
    result = pending.result(timeout_s=60)
    handle.shutdown()
    assert Image.open(io.BytesIO(result.image)).size == (256, 256)


def test_a_request_survives_the_loss_of_its_replica(client: httpx.Client, service: LiveService) -> None:
    """It is made again on the replacement, with the seed it had, and so is the picture it would have been."""
    body = {"prompt": "a cat", "size": "256x256", "num_steps": 40, "seed": 3, "response_format": "b64_json"}
    whole = pixels(client.post("/v1/images/generations", json=body))
    calls = service.denoising_calls()
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(client.post, "/v1/images/generations", json=body, timeout=240)  # as the service has
        while service.denoising_calls() < calls + 3:
            time.sleep(0.02)
        service.replica("sdxl").kill()
        response = pending.result()
    assert response.status_code == 200, response.text
    # Another process has the weights elsewhere in memory, which can change the last bit of a sum.
    assert np.abs(pixels(response) - whole).max() <= 1
