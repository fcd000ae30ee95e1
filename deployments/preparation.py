"""From a request to what a model's pipeline is called with, and from what it painted to the bytes of the answer.

Runs beside the engine: fitting and encoding pictures must hold up neither its thread nor the event loop. Uploaded ones
are decoded in a sandbox; a skeleton is our own estimator's file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from config.schema import dimensions
from deployments.engine.workload import Workload
from deployments.errors import DeadlineExceeded, InvalidRequest
from deployments.imaging.canvas import REPAINT, Canvas
from deployments.imaging.decode import decode
from deployments.imaging.encode import encode
from deployments.imaging.sandbox import Sandbox
from deployments.models.protocol import GenerationInputs, steps_that_run
from deployments.models.registry import FAMILIES

if TYPE_CHECKING:
    from torch import Tensor

    from config.schema import Family, ModelSettings, Preset
    from deployments.types import ImageRequest

# How much of a picture is redrawn where the request does not say: image-to-image keeps the composition, a mask's inside
# is new.
_IMAGE_TO_IMAGE_STRENGTH = 0.6
_INPAINTING_STRENGTH = 1.0


@dataclass(frozen=True, slots=True)
class Preparation:
    """A request with everything decided."""

    request: ImageRequest
    inputs: GenerationInputs
    canvas: Canvas | None  # None: nothing was given to paint on
    identity: Hashable  # see `identity`, of the same settings

    @property
    def workload(self) -> Workload:
        """What the engine is told of it in advance."""
        inputs = self.inputs
        pixels, has_mask = inputs.width * inputs.height, inputs.mask is not None
        return _workload(self.request, pixels, inputs.steps_that_run, inputs.guidance_scale, has_mask)

    def finish(self, painted: Tensor) -> bytes:
        """The answer's file, from a picture tensor of shape (1, 3, height, width), 0 … 1.

        A smaller one, a preview, is scaled up. Raises InvalidOutput when a value is not finite.
        """
        from deployments.models.pixels import to_pixels  # torch and diffusers, which only a replica needs

        picture = Image.fromarray(to_pixels(painted))
        size = (self.inputs.width, self.inputs.height)
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        if self.canvas is not None:
            picture = self.canvas.finish(picture)
        return encode(np.asarray(picture), self.request.output_format, self.request.output_compression)


async def canvas_for(request: ImageRequest, family: Family, sandbox: Sandbox) -> Canvas | None:
    """What the request gave to paint on. Raises InvalidRequest, TooLarge and DeadlineExceeded."""
    _require_time(request)
    if request.image is None:
        return None
    traits = FAMILIES[family]
    canvas = await sandbox.canvas(
        request.image,
        request.mask,
        request.mask_reads,
        request.width,
        request.height,
        traits.size_multiple,
        caller=request.standing.caller,
    )
    if canvas.mask is None and "image-to-image" not in traits.capabilities:
        raise InvalidRequest(
            f"mask: {request.model} does {', '.join(traits.capabilities)}; send a mask, or an image with a transparent "
            "area, that says what to repaint.",
            code="unsupported_capability",
            param="mask",
        )
    return canvas


def prepare(
    request: ImageRequest, settings: ModelSettings, family: Family, canvas: Canvas | None = None
) -> Preparation:
    """Resolves the preset; `canvas` is that of `canvas_for`. Raises InvalidRequest and DeadlineExceeded."""
    _require_time(request)
    preset = _preset(settings, request)
    steps = _steps(request, preset)
    strength = _strength(request, has_mask=canvas is not None and canvas.mask is not None)
    if canvas is not None and int(steps * strength) < 1:
        least = math.ceil(1000 / steps) / 1000
        raise InvalidRequest(
            f"strength: {strength:g} of {steps} steps leaves none; at least {least:g} is needed.", param="strength"
        )
    width, height = (request.width, request.height) if canvas is None else canvas.picture.size
    pose = request.pose
    inputs = GenerationInputs(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=width,
        height=height,
        seed=request.seed,
        steps=steps,
        guidance_scale=_guidance_scale(request, preset),
        scheduler=preset.scheduler,
        image=None if canvas is None else canvas.picture,
        mask=None if canvas is None else canvas.mask,
        strength=strength,
        skeleton=None if pose is None else decode(pose.skeleton, param="pose_image").convert("RGB"),
        pose_strength=1.0 if pose is None else pose.strength,
        pose_end=1.0 if pose is None else pose.end,
        previews=request.partial_images,
    )
    return Preparation(request, inputs, canvas, identity(request, settings))


def identity(request: ImageRequest, settings: ModelSettings) -> Hashable:
    """Equal for requests of one caller and priority whose pictures are the same before they are encoded."""
    preset = _preset(settings, request)
    anyones = replace(
        request,
        request_id="",
        standing=replace(request.standing, deadline=0.0, order=""),
        output_format="png",
        output_compression=100,
        quality="auto",
        steps=_steps(request, preset),
        guidance_scale=_guidance_scale(request, preset),
    )
    return anyones, preset.scheduler


def expected_workload(request: ImageRequest, settings: ModelSettings) -> Workload:
    """Its `Preparation.workload`, as far as that is known before pictures are decoded."""
    preset, has_mask = _preset(settings, request), request.mask is not None
    steps = _steps(request, preset)
    if request.image is not None:
        steps = steps_that_run(steps, _strength(request, has_mask))
    return _workload(request, request.width * request.height, steps, _guidance_scale(request, preset), has_mask)


def warm_up_inputs(size: str, family: Family, number: int = 0) -> GenerationInputs:
    """A few steps at `size` (`WxH`), of whatever the family needs to be given.

    Each `number` has its own prompt; 0 has no guidance, which for some families makes it a single row.
    """
    width, height = dimensions(size)
    has_picture = "text-to-image" not in FAMILIES[family].capabilities
    has_pose = "pose" in FAMILIES[family].capabilities
    return GenerationInputs(
        prompt=f"warm up {size} {number}",
        negative_prompt="",
        width=width,
        height=height,
        seed=0,
        steps=3,  # the first is slow, and requests that begin one after another shall meet
        guidance_scale=5.0 if number else 1.0,
        scheduler="default",
        image=Image.new("RGB", (width, height)) if has_picture else None,
        mask=Image.new("L", (width, height), REPAINT) if has_picture else None,
        skeleton=Image.new("RGB", (width, height)) if has_pose else None,
    )


def _require_time(request: ImageRequest) -> None:
    if time.time() >= request.standing.deadline:
        raise DeadlineExceeded("The request's time was up before it reached the model.")


def _workload(request: ImageRequest, pixels: int, steps: int, guidance_scale: float, has_mask: bool) -> Workload:
    standing = request.standing
    pose_end = None if request.pose is None else round(request.pose.end, 1)
    return Workload(
        # Whatever decides which modules a pipeline calls, and for which share of the steps.
        kind=(guidance_scale > 1, request.image is None, has_mask, pose_end),
        pixels=pixels,
        steps=steps,
        caller=standing.caller,
        weight=standing.weight,
        priority=standing.priority,
        order=standing.order,
    )


def _steps(request: ImageRequest, preset: Preset) -> int:
    return preset.steps if request.steps is None else request.steps


def _guidance_scale(request: ImageRequest, preset: Preset) -> float:
    return preset.guidance_scale if request.guidance_scale is None else request.guidance_scale


def _strength(request: ImageRequest, has_mask: bool) -> float:
    usual = _INPAINTING_STRENGTH if has_mask else _IMAGE_TO_IMAGE_STRENGTH
    return usual if request.strength is None else request.strength


def _preset(settings: ModelSettings, request: ImageRequest) -> Preset:
    quality = "smooth" if request.quality == "auto" else request.quality
    preset: Preset = getattr(settings.presets, quality)
    return preset
