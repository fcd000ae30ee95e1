"""FLUX.1 Fill against diffusers, as test_sdxl.py does it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers import FluxFillPipeline
from PIL import Image, ImageOps

from config.schema import ModelConfig, Weights
from deployments.engine import collate
from deployments.models.flux_fill import FluxFill
from deployments.models.loading import load_pipeline
from tests.unit.models import conftest
from tests.unit.models.conftest import difference, drawing, window

if TYPE_CHECKING:
    from deployments.models.protocol import GenerationInputs
    from tests.unit.models.conftest import Parity, Picture

CONFIG = ModelConfig(family="flux-fill", weights=Weights(source="small:flux-fill"), device="cpu")

inputs = functools.partial(conftest.inputs, guidance_scale=30.0, image=drawing(0), mask=window())
WIDE = {"width": 128, "image": drawing(6, 128, 64), "mask": window(128, 64)}
HIGH = {"height": 128, "image": drawing(7, 64, 128), "mask": window(64, 128)}

# Steps 1 to 10, guidance and strength of many kinds, masks of all, nothing and a part, two sizes of equal length.
MIXED = [
    inputs(seed=1, steps=10),
    inputs(seed=2, steps=1, image=drawing(2)),
    inputs(seed=3, steps=5, guidance_scale=1.0, prompt="a cat in a forest " * 20),
    inputs(seed=4, steps=6, guidance_scale=3.5, mask=Image.new("L", (64, 64), 255)),
    inputs(seed=5, steps=8, strength=0.5, image=drawing(5)),
    inputs(seed=6, steps=3, **WIDE),
    inputs(seed=7, steps=4, **HIGH),
    inputs(seed=8, steps=2, mask=Image.new("L", (64, 64), 0), prompt="ünïcode 🎨 (and) C++ :-)"),
    inputs(seed=9, steps=7, strength=0.8, **WIDE),
    inputs(seed=10, steps=6, **HIGH),
]


@pytest.fixture(scope="module")
def base() -> Any:
    return load_pipeline(FluxFillPipeline, CONFIG)


@pytest.fixture(scope="module")
def diffusers_alone(base: Any) -> Callable[[GenerationInputs], Picture]:
    def run(asked: GenerationInputs) -> Picture:
        output = base(
            asked.prompt,
            image=asked.image,
            mask_image=asked.mask,
            width=asked.width,
            height=asked.height,
            strength=asked.strength,
            num_inference_steps=asked.steps,
            guidance_scale=asked.guidance_scale,
            max_sequence_length=512,  # as Fill's model card says
            generator=torch.Generator().manual_seed(asked.seed),
        )
        return np.asarray(output.images[0])

    return run


@pytest.fixture
def model(base: Any) -> FluxFill:
    return FluxFill(base)


def test_alone_it_is_diffusers_to_the_bit(
    parity: Parity, model: FluxFill, diffusers_alone: Callable[[GenerationInputs], Picture]
) -> None:
    for asked in MIXED:
        assert np.array_equal(parity.alone(model, asked), diffusers_alone(asked)), asked


def test_in_a_mixed_batch_it_is_diffusers_to_one_step_of_255(
    parity: Parity, model: FluxFill, diffusers_alone: Callable[[GenerationInputs], Picture]
) -> None:
    pictures = parity.together(model, MIXED)
    parity.check(MIXED, pictures, diffusers_alone)
    forwards = parity.engine.statistics().forwards
    denoising = [made for label, made in forwards.items() if label.startswith("transformer")]
    assert max(made.largest_batch for made in denoising) >= 3
    assert any(made.calls > made.forwards for label, made in forwards.items() if label.startswith("vae.encode"))
    # What there is beside prompt, seed and guidance changes the picture too.
    for other in ({"mask": ImageOps.invert(window())}, {"image": drawing(99)}, {"strength": 0.5}):
        changed = dataclasses.replace(MIXED[0], **other)  # type: ignore[arg-type]
        assert difference(pictures[0], diffusers_alone(changed)) > 1, other


def test_a_broken_collation_is_seen(
    parity: Parity,
    model: FluxFill,
    diffusers_alone: Callable[[GenerationInputs], Picture],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intact = collate.run_merged
    monkeypatch.setattr("deployments.engine.execution.run_merged", lambda calls: intact(calls)[::-1])
    same_size = [one for one in MIXED if (one.width, one.height) == (64, 64)]
    pictures = parity.together(model, same_size)
    with pytest.raises(AssertionError):
        parity.check(same_size, pictures, diffusers_alone)


def test_progress_counts_the_steps_that_run(parity: Parity, model: FluxFill) -> None:
    seen: list[tuple[int, int, Any]] = []
    parity.alone(model, inputs(steps=6, strength=0.5), lambda *at: seen.append(at))
    assert seen == [(0, 3, None), (1, 3, None), (2, 3, None), (3, 3, None)]
