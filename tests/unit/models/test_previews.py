"""Previews show the picture that forms, of every family and scheduler, and leave the picture as it is.

Where a test is about colours it gives the small models an autoencoder that is linear, as their own nearly is.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, PNDMScheduler
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from PIL import Image
from torch import Tensor

from config.schema import ModelConfig, Weights
from deployments.models.assembly import load_model
from deployments.models.previews import LatentColors, preview_steps, watched
from deployments.models.sdxl import SCHEDULERS
from tests.unit.models.conftest import drawing, inputs, window
from training.world import Scene, Thing, draw

if TYPE_CHECKING:
    from config.schema import Family
    from deployments.models.protocol import DiffusionModel, GenerationInputs
    from tests.unit.models.conftest import Parity, Picture


class Case(NamedTuple):
    family: Family
    asked: GenerationInputs


# A small model sees what it knows in whatever is around a mask.
SOMETHING_KNOWN = Image.fromarray(draw(Scene(things=(Thing(kind="circle", colour="red"),), background="blue"), 64, 64))

CASES = {
    **{f"sdxl {name}": Case("sdxl", inputs(steps=8, scheduler=name)) for name in ("default", *SCHEDULERS)},
    "sdxl image": Case("sdxl", inputs(steps=16, image=drawing(1), strength=0.5, guidance_scale=5.0)),
    "sdxl mask": Case(
        "sdxl", inputs(steps=8, guidance_scale=1.5, image=SOMETHING_KNOWN, mask=window(), scheduler="dpm++")
    ),
    "sdxl wide": Case("sdxl", inputs(steps=8, width=96)),
    "sdxl-pose": Case("sdxl-pose", inputs(steps=8, skeleton=drawing(3), pose_end=0.5)),
    "flux-schnell": Case("flux-schnell", inputs(steps=8, width=96)),
    "flux-fill": Case("flux-fill", inputs(steps=10, strength=0.8, image=drawing(4), mask=window())),
}


@pytest.fixture(scope="module")
def linear_models() -> Iterator[dict[str, DiffusionModel]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deployments.models.loading.AutoencoderKL.encode", linear_encode)
        patch.setattr("deployments.models.loading.AutoencoderKL.decode", linear_decode)
        yield {family: load(family) for family in {case.family for case in CASES.values()}}


def load(family: Any) -> DiffusionModel:
    weights = Weights(source="small:sdxl" if family == "sdxl-pose" else f"small:{family}")
    controlnet = Weights(source="small:sdxl-pose") if family == "sdxl-pose" else None
    config = ModelConfig(family=family, weights=weights, controlnet=controlnet, device="cpu")
    return load_model(config)


def basis(channels: int) -> Tensor:
    """Three directions among latents, one for each colour; the others have no colour."""
    return torch.linalg.qr(torch.randn(channels, 3, generator=torch.Generator().manual_seed(1))).Q.T


def linear_encode(vae: AutoencoderKL, x: Tensor) -> AutoencoderKLOutput:
    mean = torch.einsum("nchw,cd->ndhw", 20 * F.avg_pool2d(x, 8), basis(vae.config.latent_channels)) + 0.7
    return AutoencoderKLOutput(DiagonalGaussianDistribution(torch.cat([mean, torch.full_like(mean, -20)], 1)))


def linear_decode(vae: AutoencoderKL, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
    colors = torch.einsum("ndhw,cd->nchw", (z - 0.7) / 20, basis(vae.config.latent_channels))
    picture = F.interpolate(colors, scale_factor=8.0)
    return DecoderOutput(picture) if return_dict else (picture,)


def run(parity: Parity, model: DiffusionModel, asked: GenerationInputs) -> tuple[Picture, dict[int, Tensor], int]:
    """The picture, the previews by step, and the steps in all."""
    seen: list[tuple[int, int, Tensor | None]] = []
    picture = parity.alone(model, asked, lambda *at: seen.append(at))
    return picture, {step: preview for step, _, preview in seen if preview is not None}, seen[-1][1]


def likeness(preview: Tensor, picture: Picture) -> float:
    """The correlation of a preview with a picture of eight times its size."""
    pooled = F.avg_pool2d(torch.tensor(picture / 255).movedim(-1, 0)[None].float(), 8)
    return float(torch.corrcoef(torch.stack([preview.flatten(), pooled.flatten()]))[0, 1])


@pytest.mark.parametrize(
    ("steps", "previews", "due"),
    [
        (20, 3, {5, 10, 15}),
        (30, 2, {10, 20}),
        (50, 1, {25}),
        (4, 3, {1, 2, 3}),
        (3, 3, {1, 2}),
        (2, 3, {1}),
        (2, 1, {1}),
        (1, 3, set()),
        (20, 0, set()),
    ],
)
def test_previews_are_spread_evenly_and_fewer_where_steps_are_few(steps: int, previews: int, due: set[int]) -> None:
    assert preview_steps(steps, previews) == due


@pytest.mark.parametrize("case", CASES)
def test_previews_show_the_picture_that_forms(
    parity: Parity, linear_models: dict[str, DiffusionModel], case: str
) -> None:
    family, asked = CASES[case]
    asked = dataclasses.replace(asked, previews=3)
    picture, previews, steps = run(parity, linear_models[family], asked)
    other, _, _ = run(
        parity,
        linear_models[family],
        dataclasses.replace(asked, prompt="a blue star on an orange background", image=other_drawing(asked)),
    )
    assert set(previews) == {round(steps * share) for share in (0.25, 0.5, 0.75)}
    for preview in previews.values():
        assert (preview.dtype, preview.device.type) == (torch.float32, "cpu")
        assert preview.shape == (1, 3, asked.height // 8, asked.width // 8)
        assert 0 <= preview.min() < preview.max() <= 1
    last = previews[max(previews)]
    # With a mask, SDXL puts what is around it back after the step, whatever the step's estimate.
    assert likeness(last, picture) > (0.94 if family != "sdxl" or asked.mask is None else 0.6)
    assert likeness(last, other) < 0.4


def other_drawing(asked: GenerationInputs) -> Any:
    return asked.image and drawing(98)


@pytest.mark.parametrize("case", CASES)
def test_a_picture_is_the_same_with_previews_and_without(parity: Parity, case: str) -> None:
    family, asked = CASES[case]
    model = load(family)
    without, none, _ = run(parity, model, asked)
    with_previews, previews, _ = run(parity, model, dataclasses.replace(asked, previews=2))
    assert np.array_equal(with_previews, without)
    assert (len(none), len(previews)) == (0, 2)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_watched_scheduler_sees_what_a_model_knows(name: Any, prediction: str) -> None:
    """The model knows the finished latents: then every step's estimate is these."""
    config = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "leading",
        "prediction_type": prediction,
        "clip_sample": False,
    }
    finished, noise = latents(0), latents(1)
    scheduler = watched(SCHEDULERS[name]).from_config(config)
    unwatched = SCHEDULERS[name].from_config(config)
    scheduler.set_timesteps(6)
    unwatched.set_timesteps(6)
    sample = scheduler.add_noise(finished, noise, scheduler.timesteps[:1])
    for time in scheduler.timesteps:
        signal = scheduler.alphas_cumprod[int(time)] ** 0.5
        spread = (1 - signal**2) ** 0.5
        unwatched.scale_model_input(sample, time)
        noise = (scheduler.scale_model_input(sample, time) - signal * finished) / spread
        told = noise if prediction == "epsilon" else signal * noise - spread * finished
        extra = {name: torch.Generator().manual_seed(0) for name in parameters(scheduler) & {"generator"}}
        (expected, *_) = unwatched.step(told, time, sample, **extra, return_dict=False)
        extra = {name: torch.Generator().manual_seed(0) for name in extra}
        (sample, *_) = scheduler.step(told, time, sample, **extra, return_dict=False)
        assert torch.equal(sample, expected)
        assert torch.allclose(scheduler.estimate, finished, atol=1e-3)
    assert parameters(scheduler) == parameters(unwatched)


def test_a_watched_flow_matching_scheduler_sees_what_a_model_knows() -> None:
    scheduler = watched(FlowMatchEulerDiscreteScheduler).from_config({"shift": 3.0})
    scheduler.set_timesteps(6)
    scheduler.set_begin_index(2)  # as for a strength below 1
    finished = latents(0)
    sample = scheduler.scale_noise(finished, scheduler.timesteps[2:3], latents(1))
    for time in scheduler.timesteps[2:]:
        sigma = time / 1000
        (sample,) = scheduler.step((sample - finished) / sigma, time, sample, return_dict=False)
        assert torch.allclose(scheduler.estimate, finished, atol=1e-4)


def test_of_a_scheduler_that_tells_no_estimate_the_latents_are_shown() -> None:
    scheduler = watched(PNDMScheduler)()
    scheduler.set_timesteps(6)
    (sample,) = scheduler.step(latents(0), scheduler.timesteps[0], latents(1), return_dict=False)
    assert scheduler.estimate is sample


@pytest.mark.parametrize(
    "normalization",
    [
        {"scaling_factor": 0.13025},
        {"scaling_factor": 0.3611, "shift_factor": 0.1159},
        {"scaling_factor": 0.5, "latents_mean": [1.0, 2.0, -1.0, 0.5], "latents_std": [2.0, 0.5, 1.0, 4.0]},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_colours_are_those_of_the_vae_whatever_its_normalization(
    normalization: dict[str, Any], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 8}
    monkeypatch.setattr(AutoencoderKL, "encode", lambda vae, x: linear_encode(vae, x.float()))
    monkeypatch.setattr(AutoencoderKL, "decode", lambda vae, z: linear_decode(vae, z.float()))
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        **blocks,
        **normalization,
    ).to(dtype)
    colors = F.interpolate(torch.rand(1, 3, 2, 3, generator=torch.Generator().manual_seed(5)), scale_factor=4.0)
    raw = linear_encode(vae, F.interpolate(colors, scale_factor=8.0) * 2 - 1).latent_dist.mode()
    mean, std = (
        torch.tensor(normalization.get(name, 0.0)).reshape(-1, 1, 1) for name in ("latents_mean", "latents_std")
    )
    if "latents_mean" in normalization:
        as_in_pipelines = (raw - mean) * vae.config.scaling_factor / std  # of SDXL
    else:
        as_in_pipelines = (raw - (vae.config.shift_factor or 0)) * vae.config.scaling_factor  # of FLUX
    assert torch.allclose(LatentColors(vae)(as_in_pipelines.to(dtype)), colors, atol=0.02)


def latents(seed: int) -> Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def parameters(scheduler: Any) -> set[str]:
    """As a pipeline looks at them, to know whether to pass a generator."""
    return set(inspect.signature(scheduler.step).parameters)
