"""What all peers have in common: the same weights as Easel's, called as diffusers documents it, and the same files.

A pipeline call paints one list of prompts at one size, with one number of steps and one guidance. So whoever batches
requests that differ groups them first; within a group every request has a generator of its own.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from pydantic import BaseModel

from deployments.imaging.encode import encode
from deployments.models.small import small_model

PATH = "/v1/images/generations"
MAX_BATCH_SIZE = 16
BATCH_WAIT_SECONDS = 0.01


class Order(BaseModel):
    """The body of a request: what of Easel's the benchmarks use."""

    prompt: str
    size: str
    num_steps: int
    guidance_scale: float
    seed: int


class Painter:
    """One loaded pipeline. Not for several threads at once."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._pipeline: Any = StableDiffusionXLPipeline.from_pretrained(
            small_model("sdxl"), dtype=torch.float32, add_watermarker=False
        )
        self._pipeline.set_progress_bar_config(disable=True)

    def paint(self, orders: Sequence[Order]) -> list[dict[str, Any]]:
        """The answer to each, one pipeline call for all that are alike."""
        groups: defaultdict[tuple[str, int, float], list[int]] = defaultdict(list)
        for index, order in enumerate(orders):
            groups[order.size, order.num_steps, order.guidance_scale].append(index)
        answers: dict[int, dict[str, Any]] = {}
        for (size, steps, guidance_scale), members in groups.items():
            width, height = map(int, size.split("x"))
            pictures = self._pipeline(
                [orders[index].prompt for index in members],
                width=width,
                height=height,
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
                generator=[torch.Generator().manual_seed(orders[index].seed) for index in members],
            ).images
            answers |= zip(members, map(_answer, pictures), strict=True)
        return [answers[index] for index in range(len(orders))]


def _answer(picture: Any) -> dict[str, Any]:
    return {"data": [{"b64_json": base64.b64encode(encode(np.asarray(picture), "png", 100)).decode()}]}
