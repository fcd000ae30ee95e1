"""Stable Diffusion XL: text-to-image, image-to-image and inpainting as ordinary diffusers pipelines.

Every request gets a pipeline object of its own (under a millisecond): own scheduler, own guidance, shared weights. The
four heavy modules are shared through the engine, so that all three kinds of request denoise in one batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UniPCMultistepScheduler,
)

from deployments.engine.collate import MergeRules
from deployments.engine.shared_module import share
from deployments.models.loading import load_pipeline
from deployments.models.merging import AUTOENCODER_METHODS, TEXT_ENCODER_METHODS
from deployments.models.steps import step_reporter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from config.schema import ModelConfig, SchedulerName
    from deployments.models.protocol import GenerationInputs
    from deployments.types import StepCallback

UNET_METHODS = {"forward": MergeRules(per_row=frozenset({"timestep"}))}

SCHEDULERS: Mapping[SchedulerName, type[Any]] = {
    "ddim": DDIMScheduler,
    "dpm++": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
    "unipc": UniPCMultistepScheduler,
}


class StableDiffusionXL:
    """One loaded SDXL model; see deployments.models.protocol.DiffusionModel."""

    def __init__(self, config: ModelConfig) -> None:
        pipeline = load_pipeline(StableDiffusionXLPipeline, config)
        self._scheduler = pipeline.scheduler
        self._components = pipeline.components | {
            "unet": share(pipeline.unet, "unet", UNET_METHODS, denoises=True),
            "text_encoder": share(pipeline.text_encoder, "text_encoder", TEXT_ENCODER_METHODS),
            "text_encoder_2": share(pipeline.text_encoder_2, "text_encoder_2", TEXT_ENCODER_METHODS),
            "vae": share(pipeline.vae, "vae", AUTOENCODER_METHODS),
            "force_zeros_for_empty_prompt": pipeline.config.force_zeros_for_empty_prompt,
            "add_watermarker": False,
        }

    def generate(self, inputs: GenerationInputs, on_step: StepCallback) -> Tensor:
        """See the protocol."""
        on_step(0, inputs.steps)
        pipeline, pictures = self._pipeline_for(inputs)
        output = pipeline(
            prompt=inputs.prompt,
            negative_prompt=inputs.negative_prompt or None,
            num_inference_steps=inputs.steps,
            guidance_scale=inputs.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(inputs.seed),  # on the CPU: the same noise on any device
            output_type="pt",
            callback_on_step_end=step_reporter(on_step),
            **pictures,
        )
        picture: Tensor = output.images
        return picture

    def _pipeline_for(self, inputs: GenerationInputs) -> tuple[Any, dict[str, Any]]:
        """A private pipeline, and the arguments that its kind takes beside the common ones."""
        scheduler_class = SCHEDULERS.get(inputs.scheduler, type(self._scheduler))
        components = self._components | {"scheduler": scheduler_class.from_config(self._scheduler.config)}
        size: dict[str, Any] = {"width": inputs.width, "height": inputs.height}
        pipeline: Any
        pictures: dict[str, Any]
        if inputs.image is None:
            pipeline, pictures = StableDiffusionXLPipeline(**components), size
        elif inputs.mask is None:
            pipeline = StableDiffusionXLImg2ImgPipeline(**components)
            pictures = {"image": inputs.image, "strength": inputs.strength}
        else:
            pipeline = StableDiffusionXLInpaintPipeline(**components)
            pictures = size | {"image": inputs.image, "mask_image": inputs.mask, "strength": inputs.strength}
        pipeline.set_progress_bar_config(disable=True)
        return pipeline, pictures
