"""Easel's engine as a replica of its service configures it, with nothing around it: no HTTP, no Ray, no files."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import torch

from benchmarks.load import Order
from benchmarks.services import easel_config
from config.schema import ModelConfig, ModelSettings, dimensions
from deployments.engine.engine import DiffusionEngine, EngineLimits
from deployments.models.assembly import load_model
from deployments.preparation import prepare
from deployments.types import ImageRequest, Standing

if TYPE_CHECKING:
    from torch import Tensor


class OfflineEngine:
    """Takes the orders that the service takes, in this process."""

    def __init__(self) -> None:
        _, application = easel_config(port=0, pictures="")["applications"]
        config = ModelConfig.model_validate(application["args"])
        self._settings = ModelSettings.model_validate(application["deployments"][0]["user_config"])
        torch.set_num_threads(config.torch_threads or 1)
        batching = self._settings.batching
        self._engine = DiffusionEngine(EngineLimits(batching.max_rows, batching.max_running, batching.max_queued))
        self._model = load_model(config)
        self._engine.start()

    async def paint(self, order: Order) -> Tensor:
        """The picture as the model makes it: floats of shape (1, 3, height, width)."""
        prepared = prepare(image_request(order), self._settings, "sdxl")
        job = self._engine.submit(lambda: self._model.generate(prepared.inputs, lambda *_: None), prepared.workload)
        return await asyncio.wrap_future(job.future)

    def stop(self) -> None:
        self._engine.stop()


def image_request(order: Order) -> ImageRequest:
    """What the ingress makes of an order."""
    width, height = dimensions(order["size"])
    return ImageRequest(
        request_id="benchmark",
        model="benchmark",
        prompt=order["prompt"],
        width=width,
        height=height,
        seed=order["seed"],
        steps=order["num_steps"],
        guidance_scale=order["guidance_scale"],
        standing=Standing(deadline=time.time() + 600),
    )
