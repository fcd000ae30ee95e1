"""Previews: what a request is making, an eighth as large and at almost no cost.

Two parts. A watched scheduler keeps what each denoising step takes the finished latents to be: its own estimate, so the
picture forms instead of noise fading away. `LatentColors` gives every place of latents one colour, by an affine map
fitted when the model is loaded to its own VAE. Invariant: a watched scheduler computes what it would unwatched.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from torch import Tensor


def preview_steps(steps: int, previews: int) -> frozenset[int]:
    """After which of `steps` denoising steps there is one of `previews`: evenly spread, and none after the last."""
    evenly = (round(steps * (index + 1) / (previews + 1)) for index in range(previews))
    return frozenset(step for step in evenly if 0 < step < steps)


@functools.cache
def watched(scheduler_class: type[Any]) -> type[Any]:
    """The scheduler class, but that a step leaves its estimate of the finished latents in `estimate`."""

    @functools.wraps(scheduler_class.step)  # pipelines look at its parameters
    def step(self: Any, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        output = scheduler_class.step(self, model_output, timestep, sample, *args, **kwargs)
        self.estimate = _estimate(self, model_output, sample, output)
        return output

    return type(scheduler_class.__name__, (scheduler_class,), {"step": step})


def _estimate(scheduler: Any, model_output: Tensor, sample: Tensor, output: Any) -> Tensor:
    estimate: Tensor
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        estimate = sample - scheduler.sigmas[scheduler.step_index - 1] * model_output  # the step has counted itself
    elif hasattr(scheduler, "model_outputs"):  # DPM++ and UniPC keep their estimates, the last of them last
        estimate = scheduler.model_outputs[-1]
    else:  # Euler and DDIM return theirs second; whoever returns none shows the latents with the noise that is left
        estimate = output[1] if len(output) > 1 else output[0]
    return estimate


class LatentColors:
    """The colours of the latents of one VAE, fitted by least squares: at each place, colour = latent @ matrix + offset.

    Called with latents of shape (1, channels, h, w), as pipelines have them, it gives a picture of shape (1, 3, h, w),
    float32 on the CPU, 0 … 1.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        card = _test_card().to(vae.device, vae.dtype)
        encoded = vae.encode(card * 2 - 1).latent_dist.mode()
        decoded = vae.decode(encoded).sample / 2 + 0.5
        pooled = F.avg_pool2d(decoded.float().cpu(), card.shape[-1] // encoded.shape[-1])
        latents = _as_pipelines_have_them(encoded.float().cpu(), vae.config).movedim(1, -1).flatten(0, 2)
        colors = pooled.movedim(1, -1).flatten(0, 2)
        # Without their means, so that what is constant over the card gets no colour; of all solutions the smallest.
        self._matrix = torch.linalg.lstsq(latents - latents.mean(0), colors - colors.mean(0), driver="gelsd").solution
        self._offset = colors.mean(0) - latents.mean(0) @ self._matrix

    def __call__(self, latents: Tensor) -> Tensor:
        colors: Tensor = latents.float().cpu().movedim(1, -1) @ self._matrix + self._offset
        return colors.movedim(-1, 1).clamp(0, 1)


def _as_pipelines_have_them(latents: Tensor, config: Any) -> Tensor:
    """The VAE's own latents, normalized as its configuration says."""
    mean = torch.tensor(config.get("latents_mean") or config.get("shift_factor") or 0.0).reshape(-1, 1, 1)
    deviation = torch.tensor(config.get("latents_std") or 1.0).reshape(-1, 1, 1)
    normalized: Tensor = (latents - mean) / deviation * config.scaling_factor
    return normalized


def _test_card() -> Tensor:
    """Patches and gradients of colours: a float picture of shape (2, 3, 256, 256), 0 … 1, the same every time."""
    generator = torch.Generator().manual_seed(0)
    patches = F.interpolate(torch.rand(1, 3, 8, 8, generator=generator), size=(256, 256))
    gradients = F.interpolate(torch.rand(1, 3, 8, 8, generator=generator), size=(256, 256), mode="bilinear")
    return torch.cat([patches, gradients])
