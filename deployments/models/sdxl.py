"""Stable Diffusion XL: text-to-image, image-to-image and inpainting as ordinary diffusers pipelines.

Every request gets a pipeline object of its own (under a millisecond): own scheduler, own guidance, shared weights. The
four heavy modules are shared through the engine, so that all three kinds of request denoise in one batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

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
from deployments.engine.workload import Role
from deployments.models.guidance import guided_for
from deployments.models.merging import share_surroundings
from deployments.models.pipelines import on_device
from deployments.models.previews import LatentColors, watched
from deployments.models.prompt_cache import PromptCache
from deployments.models.steps import step_reporter
from deployments.models.text import sdxl_embeddings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from config.schema import SchedulerName
    from deployments.models.protocol import CacheUse, GenerationInputs, StepListener

# Text is looked at by cross-attention only. A ControlNet adds its residuals to the UNet's: none are as good as zeros.
UNET_METHODS = {
    "forward": MergeRules(
        per_row=frozenset({"timestep"}),
        repeatable=frozenset({"encoder_hidden_states"}),
        zero_if_absent=frozenset({"down_block_additional_residuals", "mid_block_additional_residual"}),
    )
}

SCHEDULERS: Mapping[SchedulerName, type[Any]] = {
    "ddim": DDIMScheduler,
    "dpm++": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
    "unipc": UniPCMultistepScheduler,
}


class StableDiffusionXL:
    """One loaded SDXL model; see deployments.models.protocol.DiffusionModel."""

    pipeline_class: ClassVar[type[Any]] = StableDiffusionXLPipeline

    def __init__(self, pipeline: Any, guided_share: float = 1.0) -> None:
        self._guided_share = guided_share  # of the steps of a request
        self._colors = LatentColors(pipeline.vae)
        self._prompts = PromptCache()
        self._scheduler = pipeline.scheduler
        self._device = pipeline._execution_device
        self._components = pipeline.components | {
            "unet": share(pipeline.unet, "unet", UNET_METHODS, role=Role.DENOISES),
            **share_surroundings(pipeline),
            "force_zeros_for_empty_prompt": pipeline.config.force_zeros_for_empty_prompt,
            "add_watermarker": False,
        }

    def generate(self, inputs: GenerationInputs, on_step: StepListener) -> Tensor:
        """See the protocol."""
        on_step(0, inputs.steps_that_run, None)
        pipeline_class, components, arguments = self._kind_for(inputs)
        own = components | {"scheduler": self._scheduler_for(inputs)}
        pipeline = on_device(pipeline_class, self._device)(**self._components | own)
        pipeline.set_progress_bar_config(disable=True)
        report = step_reporter(on_step, inputs.previews, self._colors)
        output = pipeline(
            num_inference_steps=inputs.steps,
            guidance_scale=inputs.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(inputs.seed),  # on the CPU: the same noise on any device
            output_type="pt",
            **guided_for(self._guided_share, pipeline, report),
            **self._embeddings(pipeline, inputs),
            **arguments,
        )
        picture: Tensor = output.images
        return picture

    def cache_uses(self) -> Mapping[str, CacheUse]:
        """See the protocol."""
        return {"prompts": self._prompts.use}

    def _embeddings(self, pipeline: Any, inputs: GenerationInputs) -> dict[str, Tensor]:
        texts = (inputs.prompt, inputs.negative_prompt)
        return self._prompts.get(
            (*texts, inputs.guidance_scale > 1), lambda: sdxl_embeddings(pipeline, *texts, inputs.guidance_scale)
        )

    def _kind_for(self, inputs: GenerationInputs) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """A kind of pipeline, and the components and the arguments that it takes beside the common ones."""
        size: dict[str, Any] = {"width": inputs.width, "height": inputs.height}
        if inputs.image is None:
            return StableDiffusionXLPipeline, {}, size
        picture = {"image": inputs.image, "strength": inputs.strength}
        if inputs.mask is None:
            return StableDiffusionXLImg2ImgPipeline, {}, picture
        return StableDiffusionXLInpaintPipeline, {}, size | picture | {"mask_image": inputs.mask}

    def _scheduler_for(self, inputs: GenerationInputs) -> Any:
        scheduler_class: Any = SCHEDULERS.get(inputs.scheduler, type(self._scheduler))
        if inputs.previews:
            scheduler_class = watched(scheduler_class)
        return scheduler_class.from_config(self._scheduler.config)
