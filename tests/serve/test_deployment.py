"""The model's deployment, reached by its handle as the ingress reaches it."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from PIL import Image
from ray import serve

from config.schema import ModelConfig
from deployments.diffusion import Diffusion
from deployments.types import ImageRequest, ImageResult, Progress

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
        "deadline": time.time() + 120,
    }
    return ImageRequest(**(common | changes))


def test_a_stream_tells_each_step_and_ends_with_the_picture(service: LiveService) -> None:
    handle = serve.get_app_handle("sdxl").options(stream=True)
    *steps, result = handle.stream.remote(request(steps=5))
    assert steps == [Progress(step=step, steps=5) for step in range(6)]
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
    assert Image.open(io.BytesIO(result.image)).size == (256, 256)
