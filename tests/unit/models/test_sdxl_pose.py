"""SDXL with a pose against diffusers, as test_sdxl.py does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DPMSolverMultistepScheduler,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from config.schema import ModelConfig, Weights
from deployments.engine import collate
from deployments.models.loading import ModelLoadError, load_pipeline
from deployments.models.pixels import to_pixels
from deployments.models.sdxl_pose import StableDiffusionXLPose
from deployments.models.small import small_model
from tests.unit.models.conftest import difference, inputs

if TYPE_CHECKING:
    from deployments.engine.job import Job
    from deployments.engine.statistics import ForwardStatistics
    from deployments.models.protocol import GenerationInputs
    from tests.unit.models.conftest import Parity, Picture

CONTROLNET = Weights(source="small:sdxl-pose")
CONFIG = ModelConfig(family="sdxl-pose", weights=Weights(source="small:sdxl"), controlnet=CONTROLNET, device="cpu")


def skeleton(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """Limbs of many colours on black."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (width, height))
    for _ in range(6):
        ends = random.integers(0, (width, height), (2, 2)).tolist()
        ImageDraw.Draw(picture).line([tuple(end) for end in ends], tuple(random.integers(64, 256, 3).tolist()), 4)
    return picture


# With a skeleton and without; strengths and ends of many kinds; steps 1 to 12, two schedulers, two sizes.
MIXED = [
    inputs(seed=1, steps=12, skeleton=skeleton(1)),
    inputs(seed=2, steps=5),
    inputs(seed=3, steps=6, skeleton=skeleton(3), pose_strength=0.4),
    inputs(seed=4, steps=8, skeleton=skeleton(4), pose_end=0.5, scheduler="dpm++", prompt="a cat in a forest"),
    inputs(seed=5, steps=7, skeleton=skeleton(5), guidance_scale=1.0, negative_prompt="blurry"),
    inputs(seed=6, steps=2, skeleton=skeleton(6), pose_strength=2.0, negative_prompt="blurry"),
    inputs(seed=7, steps=4, skeleton=skeleton(7), pose_strength=0.0),
    inputs(seed=8, steps=4, skeleton=skeleton(8), pose_end=0.0),
    inputs(seed=9, steps=9, guidance_scale=1.0),
    inputs(seed=10, steps=3, width=96, skeleton=skeleton(10, width=96)),
    inputs(seed=11, steps=5, skeleton=skeleton(11), pose_end=0.3, pose_strength=1.5, guidance_scale=7.5),
    inputs(seed=12, steps=3, width=96),
]


def load(**changed: Any) -> Any:
    return load_pipeline(StableDiffusionXLControlNetPipeline, CONFIG.model_copy(update=changed))


@pytest.fixture(scope="module")
def base() -> Any:
    return load()


@pytest.fixture(scope="module")
def diffusers_alone(base: Any) -> Callable[[GenerationInputs], Picture]:
    def run(asked: GenerationInputs) -> Picture:
        components = base.components
        scheduler: Any = DPMSolverMultistepScheduler if asked.scheduler == "dpm++" else type(base.scheduler)
        components["scheduler"] = scheduler.from_config(base.scheduler.config)
        controlnet = components.pop("controlnet")
        pipeline: Any
        call: dict[str, Any]
        if asked.skeleton is None:
            pipeline, call = StableDiffusionXLPipeline(**components, add_watermarker=False), {}
        else:
            pipeline = StableDiffusionXLControlNetPipeline(**components, controlnet=controlnet, add_watermarker=False)
            # It refuses a pose that ends at the start, which is one without strength.
            ends_at_once = asked.pose_end == 0
            call = {
                "image": asked.skeleton,
                "controlnet_conditioning_scale": 0.0 if ends_at_once else asked.pose_strength,
                "control_guidance_end": 1.0 if ends_at_once else asked.pose_end,
            }
        pipeline.set_progress_bar_config(disable=True)
        output = pipeline(
            asked.prompt,
            negative_prompt=asked.negative_prompt or None,
            width=asked.width,
            height=asked.height,
            num_inference_steps=asked.steps,
            guidance_scale=asked.guidance_scale,
            generator=torch.Generator().manual_seed(asked.seed),
            **call,
        )
        return np.asarray(output.images[0])

    return run


@pytest.fixture
def model(base: Any) -> StableDiffusionXLPose:
    return StableDiffusionXLPose(base)


def forwards_of(parity: Parity, module: str) -> list[ForwardStatistics]:
    return [made for label, made in parity.engine.statistics().forwards.items() if label.startswith(module)]


def side_by_side(parity: Parity, model: StableDiffusionXLPose, asked: list[GenerationInputs]) -> list[Picture]:
    """All from the first step on."""

    def submit(one: GenerationInputs) -> Job[torch.Tensor]:
        return parity.engine.submit(lambda: model.generate(one, lambda *_: None))

    jobs = [submit(one) for one in asked]
    parity.engine.start()
    return [to_pixels(job.future.result(120)) for job in jobs]


def test_alone_it_is_diffusers_to_the_bit(
    parity: Parity, model: StableDiffusionXLPose, diffusers_alone: Callable[[GenerationInputs], Picture]
) -> None:
    for asked in MIXED:
        assert np.array_equal(parity.alone(model, asked), diffusers_alone(asked)), asked


def test_in_a_mixed_batch_it_is_diffusers_to_one_step_of_255(
    parity: Parity, model: StableDiffusionXLPose, diffusers_alone: Callable[[GenerationInputs], Picture]
) -> None:
    pictures = parity.together(model, MIXED)
    parity.check(MIXED, pictures, diffusers_alone)
    denoising = forwards_of(parity, "unet")
    assert len(denoising) == 2  # one for each size, with and without a skeleton
    assert max(made.largest_batch for made in denoising) >= 6
    assert max(made.largest_batch for made in forwards_of(parity, "controlnet")) >= 3
    # What there is beside prompt, seed and guidance changes the picture too.
    for index, other in [
        (0, {"skeleton": skeleton(99)}),
        (0, {"skeleton": None}),
        (0, {"pose_end": 0.5}),
        (2, {"pose_strength": 0.8}),
        (3, {"pose_end": 0.25}),
    ]:
        changed = dataclasses.replace(MIXED[index], **other)  # type: ignore[arg-type]
        assert difference(pictures[index], diffusers_alone(changed)) > 1, other


def test_a_broken_collation_is_seen(
    parity: Parity,
    model: StableDiffusionXLPose,
    diffusers_alone: Callable[[GenerationInputs], Picture],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Residuals that reach the wrong requests: the ControlNet's rows are swapped, and nobody else's."""
    intact = collate.run_merged

    def swapped(calls: list[collate.ModuleCall]) -> list[Any]:
        return intact(calls)[:: -1 if calls[0].name.startswith("controlnet") else 1]

    monkeypatch.setattr("deployments.engine.execution.run_merged", swapped)
    same_rows = [one for one in MIXED if one.guidance_scale > 1 and one.width == 64]
    pictures = parity.together(model, same_rows)
    with pytest.raises(AssertionError):
        parity.check(same_rows, pictures, diffusers_alone)


def test_requests_with_and_without_a_skeleton_take_every_step_together(
    parity: Parity, model: StableDiffusionXLPose
) -> None:
    """Although those without are first, and more urgent: they wait for the ControlNet of the others."""
    plain = [inputs(seed=4, steps=2), inputs(seed=5, steps=2, guidance_scale=1.0)]
    posed = [inputs(seed=seed, steps=5, skeleton=skeleton(seed), pose_strength=0.3 * seed) for seed in (1, 2, 3)]
    side_by_side(parity, model, [*plain, *posed])
    ((unet,), (controlnet,)) = forwards_of(parity, "unet"), forwards_of(parity, "controlnet")
    assert (unet.forwards, unet.calls, unet.largest_batch) == (5, 19, 5)
    assert (controlnet.forwards, controlnet.calls, controlnet.largest_batch) == (5, 15, 3)


def test_texts_of_any_length_take_every_step_together(
    parity: Parity, model: StableDiffusionXLPose, diffusers_alone: Callable[[GenerationInputs], Picture]
) -> None:
    short = inputs(seed=1, steps=5, skeleton=skeleton(1))
    long = inputs(seed=2, steps=5, skeleton=skeleton(2), prompt="a (red)1.5 cat in a forest " * 40)
    picture, _ = side_by_side(parity, model, [short, long])
    assert [made.forwards for made in forwards_of(parity, "unet") + forwards_of(parity, "controlnet")] == [5, 5]
    assert difference(picture, diffusers_alone(short)) <= 1


def test_the_controlnet_is_not_called_once_the_pose_has_ended(parity: Parity, model: StableDiffusionXLPose) -> None:
    for ends, pose_strength, calls in ((0.5, 1.0, 3), (0.05, 1.0, 1), (1.0, 1.0, 6), (1.0, 0.0, 0), (0.0, 1.0, 0)):
        before = sum(made.calls for made in forwards_of(parity, "controlnet"))
        parity.alone(model, inputs(steps=6, skeleton=skeleton(1), pose_end=ends, pose_strength=pose_strength))
        assert sum(made.calls for made in forwards_of(parity, "controlnet")) - before == calls


def test_progress_counts_the_steps(parity: Parity, model: StableDiffusionXLPose) -> None:
    seen: list[tuple[int, int, Any]] = []
    parity.alone(model, inputs(steps=3, skeleton=skeleton(1)), lambda *at: seen.append(at))
    assert seen == [(0, 3, None), (1, 3, None), (2, 3, None), (3, 3, None)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_controlnet_comes_ready_to_serve(dtype: Any) -> None:
    controlnet = load(dtype=dtype).controlnet
    assert not any(part.training for part in controlnet.modules())
    for parameter in controlnet.parameters():
        assert (parameter.dtype, parameter.device.type) == (getattr(torch, dtype), "cpu")
        assert not parameter.requires_grad


def test_a_controlnet_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="is not a folder"):
        load(controlnet=Weights(source=str(tmp_path / "none")))
    with pytest.raises(ModelLoadError, match=f"cannot load ControlNetModel from '{tmp_path}'"):
        load(controlnet=Weights(source=str(tmp_path)))
    ControlNetModel.from_pretrained(small_model("sdxl-pose")).save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_in.bias"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lacks 1 weights of controlnet, as conv_in\.bias"):
        load(controlnet=Weights(source=str(tmp_path)))


def test_bfloat16_stays_bfloat16_in_a_merged_call(parity: Parity) -> None:
    """Scales are numbers and become a tensor: of a wider type it would widen what it multiplies."""
    model = StableDiffusionXLPose(load(dtype="bfloat16"))
    side_by_side(parity, model, [inputs(steps=2, skeleton=skeleton(seed), pose_strength=0.3 * seed) for seed in (1, 2)])
    assert forwards_of(parity, "controlnet")[0].largest_batch == 2
