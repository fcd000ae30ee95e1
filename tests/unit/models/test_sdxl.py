"""Parity: what the engine makes is what diffusers' own pipelines make, alone to the bit and in company to 1/255."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)

from config.schema import ModelConfig, Weights
from deployments.engine import collate
from deployments.engine.coroutine import Coroutine
from deployments.errors import InvalidOutput
from deployments.models.loading import load_pipeline
from deployments.models.sdxl import StableDiffusionXL
from tests.unit.models.conftest import drawing, inputs, window

if TYPE_CHECKING:
    from deployments.models.protocol import GenerationInputs
    from tests.unit.models.conftest import Parity, Picture

CONFIG = ModelConfig(family="sdxl", weights=Weights(source="small:sdxl"), device="cpu")


# Steps 1 to 12, guidance on and off, with and without negative prompt, all three kinds, two schedulers, two sizes.
MIXED = [
    inputs(seed=1, steps=12),
    inputs(seed=2, steps=1, negative_prompt="blurry"),
    inputs(seed=3, steps=5, guidance_scale=1.0),
    inputs(seed=4, steps=7, scheduler="dpm++", prompt="a cat in a forest", guidance_scale=7.5),
    inputs(seed=5, steps=8, image=drawing(5), strength=0.5),
    inputs(seed=6, steps=3, image=drawing(6), strength=1.0, negative_prompt="a dog", scheduler="dpm++"),
    inputs(seed=7, steps=6, image=drawing(7), mask=window()),
    inputs(seed=8, steps=10, image=drawing(8), mask=window(), strength=0.6, guidance_scale=0.0),
    inputs(seed=9, steps=4, width=96, height=64),
    inputs(seed=10, steps=2, prompt="ünïcode 🎨 (and) C++ :-)"),
]


@pytest.fixture(scope="module")
def base() -> Any:
    """Loaded once for both sides: the same weights elsewhere in memory can differ in the last bit (alignment)."""
    return load_pipeline(StableDiffusionXLPipeline, CONFIG)


@pytest.fixture(scope="module")
def diffusers_alone(base: Any) -> Callable[[GenerationInputs], Picture]:
    """Diffusers' own pipelines, called as its documentation does."""
    default = base.scheduler

    def run(asked: GenerationInputs) -> Picture:
        components = base.components
        components["scheduler"] = (
            DPMSolverMultistepScheduler if asked.scheduler == "dpm++" else type(default)
        ).from_config(default.config)
        call: dict[str, Any] = {}
        kind: Any = StableDiffusionXLPipeline
        if asked.image is None:
            call = {"width": asked.width, "height": asked.height}
        else:
            kind = StableDiffusionXLImg2ImgPipeline
            call = {"image": asked.image, "strength": asked.strength}
        if asked.mask is not None:
            kind = StableDiffusionXLInpaintPipeline
            call |= {"mask_image": asked.mask, "width": asked.width, "height": asked.height}
        pipeline = kind(**components, add_watermarker=False)
        pipeline.set_progress_bar_config(disable=True)
        output = pipeline(
            asked.prompt,
            negative_prompt=asked.negative_prompt or None,
            num_inference_steps=asked.steps,
            guidance_scale=asked.guidance_scale,
            generator=torch.Generator().manual_seed(asked.seed),
            **call,
        )
        return np.asarray(output.images[0])

    return run


@pytest.fixture
def model(base: Any) -> StableDiffusionXL:
    return StableDiffusionXL(base)


def test_alone_it_is_diffusers_to_the_bit(
    parity: Parity, model: StableDiffusionXL, diffusers_alone: Callable[[GenerationInputs], Picture]
) -> None:
    for asked in MIXED:
        picture = parity.alone(model, asked)
        assert picture.shape == (asked.height, asked.width, 3)
        assert np.array_equal(picture, diffusers_alone(asked)), asked


def test_in_a_mixed_batch_it_is_diffusers_to_one_step_of_255(
    parity: Parity, model: StableDiffusionXL, diffusers_alone: Callable[[GenerationInputs], Picture]
) -> None:
    parity.check(MIXED, parity.together(model, MIXED), diffusers_alone)
    forwards = parity.engine.statistics().forwards
    denoising = [made for label, made in forwards.items() if label.startswith("unet")]
    assert len(denoising) == 2  # one for each size
    assert max(made.largest_batch for made in denoising) >= 5
    encoding = [made for label, made in forwards.items() if label.startswith("text_encoder")]
    assert all(made.calls > made.forwards for made in encoding)


def test_a_broken_collation_is_seen(
    parity: Parity,
    model: StableDiffusionXL,
    diffusers_alone: Callable[[GenerationInputs], Picture],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control of the test above: rows given to the wrong requests."""
    intact = collate.run_merged
    monkeypatch.setattr("deployments.engine.execution.run_merged", lambda calls: intact(calls)[::-1])
    same_rows = [one for one in MIXED if one.guidance_scale > 1 and one.width == 64]
    pictures = parity.together(model, same_rows)
    with pytest.raises(AssertionError):
        parity.check(same_rows, pictures, diffusers_alone)


def test_large_pictures_are_decoded_one_by_one(base: Any, model: StableDiffusionXL) -> None:
    """Decoding is the peak of memory: at most a megapixel in one forward."""
    for side, together_ in ((1024, 1), (512, 4), (256, 16)):
        latents = torch.zeros(1, 4, side // 8, side // 8)
        decode = Coroutine(lambda latents=latents: model._components["vae"].decode(latents))
        call = decode.resume()
        assert call is not None
        assert call.most_rows == together_


def test_a_picture_that_is_not_finite_never_leaves(
    parity: Parity, model: StableDiffusionXL, base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = torch.full_like(base.vae.post_quant_conv.bias, float("nan"))
    monkeypatch.setitem(base.vae.post_quant_conv._parameters, "bias", torch.nn.Parameter(poison, False))
    with pytest.raises(InvalidOutput):
        parity.alone(model, inputs(steps=1))


def test_progress_counts_the_steps_that_run(parity: Parity, model: StableDiffusionXL) -> None:
    """Image-to-image at strength 0.5 runs half of the steps."""
    seen: list[tuple[int, int, Any]] = []
    parity.alone(model, inputs(steps=8, image=drawing(1), strength=0.5), lambda *at: seen.append(at))
    assert seen == [(0, 4, None), (1, 4, None), (2, 4, None), (3, 4, None), (4, 4, None)]
