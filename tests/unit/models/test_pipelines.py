"""Pipelines that know their device."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline

from deployments.models.pipelines import on_device
from deployments.models.small import small_model


def test_a_pipeline_knows_its_device_without_looking_for_it() -> None:
    loaded: Any = StableDiffusionXLPipeline.from_pretrained(
        small_model("sdxl"), dtype=torch.float32, add_watermarker=False
    )
    kind = on_device(StableDiffusionXLPipeline, torch.device("meta"))  # where its modules are not
    assert kind(**loaded.components)._execution_device == torch.device("meta")
    assert issubclass(kind, StableDiffusionXLPipeline)
    assert kind is on_device(StableDiffusionXLPipeline, torch.device("meta"))
    assert loaded._execution_device == torch.device("cpu")
