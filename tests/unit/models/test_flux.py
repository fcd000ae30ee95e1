"""FLUX.1 schnell against diffusers, as test_sdxl.py does it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from config.schema import ModelConfig, Weights
from deployments.models.flux import FluxSchnell
from deployments.models.loading import load_pipeline
from tests.unit.models import conftest

if TYPE_CHECKING:
    from deployments.models.protocol import GenerationInputs
    from tests.unit.models.conftest import Parity, Picture

CONFIG = ModelConfig(family="flux-schnell", weights=Weights(source="small:flux-schnell"), device="cpu")


inputs = functools.partial(conftest.inputs, guidance_scale=0.0)

# Steps 1 to 8, long and short prompts, and two sizes of equal length: 128x64 and 64x128 are as many positions.
MIXED = [
    inputs(seed=1, steps=8),
    inputs(seed=2, steps=1),
    inputs(seed=3, prompt="a cat in a forest " * 20),
    inputs(seed=4, width=128),
    inputs(seed=5, height=128),
    inputs(seed=6, steps=2, prompt="ünïcode 🎨 (and) C++ :-)"),
    inputs(seed=7, width=128, steps=3),
    inputs(seed=8, height=128, steps=5),
]


@pytest.fixture(scope="module")
def base() -> Any:
    return load_pipeline(FluxPipeline, CONFIG)


@pytest.fixture(scope="module")
def diffusers_alone(base: Any) -> Callable[[GenerationInputs], Picture]:
    def run(asked: GenerationInputs) -> Picture:
        output = base(
            asked.prompt,
            width=asked.width,
            height=asked.height,
            num_inference_steps=asked.steps,
            guidance_scale=0.0,
            max_sequence_length=256,  # as schnell's model card says
            generator=torch.Generator().manual_seed(asked.seed),
        )
        return np.asarray(output.images[0])

    return run


@pytest.fixture
def model(base: Any) -> FluxSchnell:
    return FluxSchnell(base)


def test_alone_it_is_diffusers_to_the_bit(
    parity: Parity, model: FluxSchnell, diffusers_alone: Callable[[GenerationInputs], Picture]
) -> None:
    for asked in MIXED:
        assert np.array_equal(parity.alone(model, asked), diffusers_alone(asked)), asked


def test_in_a_mixed_batch_it_is_diffusers_to_one_step_of_255(
    parity: Parity, model: FluxSchnell, diffusers_alone: Callable[[GenerationInputs], Picture]
) -> None:
    parity.check(MIXED, parity.together(model, MIXED), diffusers_alone)
    denoising = [made for label, made in parity.engine.statistics().forwards.items() if label.startswith("transformer")]
    assert max(made.largest_batch for made in denoising) >= 2


def test_progress_counts_the_steps(parity: Parity, model: FluxSchnell) -> None:
    seen: list[tuple[int, int, Any]] = []
    parity.alone(model, inputs(steps=3), lambda *at: seen.append(at))
    assert seen == [(0, 3, None), (1, 3, None), (2, 3, None), (3, 3, None)]
