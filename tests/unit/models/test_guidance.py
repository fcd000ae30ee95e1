"""Guidance that ends early is what diffusers' own callbacks make of it, and its steps cost one row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.callbacks import SDXLCFGCutoffCallback, SDXLControlnetCFGCutoffCallback

from config.schema import Acceleration, ModelConfig, Weights
from deployments.models.assembly import load_model
from deployments.models.loading import load_pipeline
from deployments.models.sdxl_pose import StableDiffusionXLPose
from tests.unit.models.conftest import difference, drawing, inputs, window

if TYPE_CHECKING:
    from deployments.models.protocol import GenerationInputs
    from tests.unit.models.conftest import Parity, Picture

CONFIG = ModelConfig(
    family="sdxl-pose", weights=Weights(source="small:sdxl"), controlnet=Weights(source="small:sdxl-pose"), device="cpu"
)
KINDS = {
    "text-to-image": inputs(seed=1, steps=6, negative_prompt="blurry"),
    "image-to-image": inputs(seed=2, steps=10, image=drawing(2), strength=0.6),
    "inpainting": inputs(seed=3, steps=6, image=drawing(3), mask=window()),
    "pose": inputs(seed=4, steps=6, skeleton=drawing(4)),
}
SHARE = 0.4  # of six steps the first three, rounded up


@pytest.fixture(scope="module")
def base() -> Any:
    return load_pipeline(StableDiffusionXLControlNetPipeline, CONFIG)


@pytest.fixture
def rows(base: Any) -> Iterator[list[tuple[str, int]]]:
    """Of each call of the UNet and the ControlNet."""
    seen: list[tuple[str, int]] = []
    hooks = [
        getattr(base, name).register_forward_pre_hook(
            lambda _module, arguments, named, name=name: seen.append(
                (name, len(arguments[0] if arguments else named["sample"]))
            ),
            with_kwargs=True,
        )
        for name in ("unet", "controlnet")
    ]
    yield seen
    for hook in hooks:
        hook.remove()


class InpaintingCutoff(SDXLCFGCutoffCallback):  # type: ignore[misc]
    """diffusers' own, but that it takes the mask along, which needs no second half then."""

    tensor_inputs = [*SDXLCFGCutoffCallback.tensor_inputs, "mask"]  # noqa: RUF012

    def callback_fn(self, pipeline: Any, step_index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        tensors = super().callback_fn(pipeline, step_index, timestep, tensors)
        if step_index == self.config.cutoff_step_index:
            tensors["mask"] = tensors["mask"][-1:]
        return tensors


def by_diffusers(base: Any, asked: GenerationInputs, guided_steps: int) -> Picture:
    """Its pipelines with its callbacks, called as its documentation does."""
    components = base.components | {"scheduler": type(base.scheduler).from_config(base.scheduler.config)}
    controlnet = components.pop("controlnet")
    size = {"width": asked.width, "height": asked.height}
    kind: Any = StableDiffusionXLPipeline
    callback: Any = SDXLCFGCutoffCallback
    call: dict[str, Any] = size
    if asked.skeleton is not None:
        components["controlnet"] = controlnet
        kind, callback = StableDiffusionXLControlNetPipeline, SDXLControlnetCFGCutoffCallback
        call = size | {"image": asked.skeleton}
    elif asked.mask is not None:
        kind, callback = StableDiffusionXLInpaintPipeline, InpaintingCutoff
        call = size | {"image": asked.image, "mask_image": asked.mask, "strength": asked.strength}
    elif asked.image is not None:
        kind = StableDiffusionXLImg2ImgPipeline
        call = {"image": asked.image, "strength": asked.strength}
    pipeline = kind(**components, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    output = pipeline(
        asked.prompt,
        negative_prompt=asked.negative_prompt or None,
        num_inference_steps=asked.steps,
        guidance_scale=asked.guidance_scale,
        generator=torch.Generator().manual_seed(asked.seed),
        callback_on_step_end=callback(cutoff_step_ratio=None, cutoff_step_index=guided_steps - 1),
        **call,
    )
    return np.asarray(output.images[0])


@pytest.mark.parametrize("kind", KINDS)
def test_alone_it_is_diffusers_with_its_callback_to_the_bit(
    kind: str, base: Any, parity: Parity, rows: list[tuple[str, int]]
) -> None:
    asked = KINDS[kind]
    picture = parity.alone(StableDiffusionXLPose(base, guided_share=SHARE), asked)
    assert [made for name, made in rows if name == "unet"] == [2, 2, 2, 1, 1, 1]
    assert [made for name, made in rows if name == "controlnet"] == ([2, 2, 2, 1, 1, 1] if kind == "pose" else [])
    assert np.array_equal(picture, by_diffusers(base, asked, guided_steps=3))
    assert difference(picture, parity.alone(StableDiffusionXLPose(base), asked)) > 1  # it is lossy


def test_in_company_it_is_what_it_is_alone(base: Any, parity: Parity) -> None:
    model = StableDiffusionXLPose(base, guided_share=SHARE)
    asked = [*KINDS.values(), inputs(seed=5, steps=4, guidance_scale=1.0), inputs(seed=6, steps=3)]
    for one, picture in zip(asked, parity.together(model, asked), strict=True):
        assert difference(picture, parity.alone(model, one)) <= 1, one
    denoising = [made for label, made in parity.engine.statistics().forwards.items() if label.startswith("unet")]
    assert max(made.largest_batch for made in denoising) >= 4


@pytest.mark.parametrize(
    ("share", "steps"), [(0.01, 3), (0.3, 10), (0.5, 1), (0.5, 3), (0.9, 10), (1.0, 3), (0.28, 25)]
)
def test_the_share_is_of_the_steps_rounded_up(
    share: float, steps: int, base: Any, parity: Parity, rows: list[tuple[str, int]]
) -> None:
    parity.alone(StableDiffusionXLPose(base, guided_share=share), inputs(steps=steps))
    guided = math.ceil(round(share * steps, 6))
    assert [made for _, made in rows] == [2] * guided + [1] * (steps - guided)


def test_progress_and_previews_go_on(base: Any, parity: Parity) -> None:
    seen: list[tuple[int, int, bool]] = []
    parity.alone(
        StableDiffusionXLPose(base, guided_share=SHARE),
        inputs(steps=4, previews=1),
        lambda step, steps, preview: seen.append((step, steps, preview is not None)),
    )
    assert seen == [(0, 4, False), (1, 4, False), (2, 4, True), (3, 4, False), (4, 4, False)]


@pytest.mark.parametrize(("family", "is_configured"), [("sdxl", True), ("sdxl-pose", True), ("sdxl", False)])
def test_the_configuration_reaches_the_model(family: Any, is_configured: bool, parity: Parity) -> None:
    config = ModelConfig(
        family=family,
        weights=CONFIG.weights,
        controlnet=CONFIG.controlnet if family == "sdxl-pose" else None,
        device="cpu",
        acceleration=Acceleration(lossy_guidance_cutoff=0.5 if is_configured else None),
    )
    parity.alone(load_model(config), inputs(steps=4))
    (unet,) = (made for label, made in parity.engine.statistics().forwards.items() if label.startswith("unet"))
    assert (unet.calls, unet.rows) == (4, 6 if is_configured else 8)
