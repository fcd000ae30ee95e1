"""What all peers of the benchmarks paint with."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers import painting
from benchmarks.peers.painting import Order, Painter


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the pipeline is called with; it paints the seed of each picture."""
    noted: list[dict[str, Any]] = []

    class Pipeline:
        def set_progress_bar_config(self, disable: bool) -> None: ...

        def __call__(self, prompts: list[str], *, generator: list[Any], **arguments: Any) -> SimpleNamespace:
            noted.append({"prompts": prompts, **arguments})
            size = (arguments["height"], arguments["width"], 3)
            seeds = [seeded.initial_seed() for seeded in generator]
            return SimpleNamespace(images=[Image.fromarray(np.full(size, seed, np.uint8)) for seed in seeds])

    loaded = SimpleNamespace(from_pretrained=lambda *_, **__: Pipeline())
    monkeypatch.setattr(painting, "StableDiffusionXLPipeline", loaded)
    monkeypatch.setattr(painting, "small_model", lambda name: name)
    return noted


def order(seed: int, size: str = "16x8", steps: int = 4, guidance: float = 5.0) -> Order:
    return Order(prompt=f"number {seed}", size=size, num_steps=steps, guidance_scale=guidance, seed=seed)


def test_what_is_alike_is_one_call_and_every_order_gets_its_own_picture(calls: list[dict[str, Any]]) -> None:
    orders = [order(1), order(2, steps=8), order(3), order(4, guidance=1.0), order(5, size="8x8"), order(6)]
    answers = Painter().paint(orders)
    assert [call["prompts"] for call in calls] == [
        ["number 1", "number 3", "number 6"],
        ["number 2"],
        ["number 4"],
        ["number 5"],
    ]
    pictures = [Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))) for answer in answers]
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(seed,) * 3 for seed in (1, 2, 3, 4, 5, 6)]
    assert [picture.size for picture in pictures] == [(16, 8), (16, 8), (16, 8), (16, 8), (8, 8), (16, 8)]


def test_steps_and_guidance_reach_the_pipeline(calls: list[dict[str, Any]]) -> None:
    Painter().paint([order(1, steps=7, guidance=2.5)])
    (call,) = calls
    assert (call["num_inference_steps"], call["guidance_scale"]) == (7, 2.5)
    assert (call["width"], call["height"]) == (16, 8)
