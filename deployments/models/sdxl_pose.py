"""Stable Diffusion XL that follows a pose: a ControlNet reads the skeleton and adds to what the UNet sees.

Requests with and without a skeleton denoise in one batch. The ControlNet's calls count as those around the steps: they
go first, so that their requests rejoin the others' UNet calls of the same step, and between two forwards of the UNet
each request makes one at most, so that nobody waits for them for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers import StableDiffusionXLControlNetPipeline

from deployments.engine.collate import MergeRules
from deployments.engine.shared_module import SharedModule
from deployments.engine.workload import Role
from deployments.models.sdxl import StableDiffusionXL

if TYPE_CHECKING:
    from deployments.models.protocol import GenerationInputs

CONTROLNET_METHODS = {
    "forward": MergeRules(
        per_row=frozenset({"timestep"}),
        scales=frozenset({"conditioning_scale"}),
        repeatable=frozenset({"encoder_hidden_states"}),
    )
}


class StableDiffusionXLPose(StableDiffusionXL):
    """One loaded SDXL model with its pose ControlNet; see deployments.models.protocol.DiffusionModel."""

    pipeline_class = StableDiffusionXLControlNetPipeline

    def __init__(self, pipeline: Any, guided_share: float = 1.0) -> None:
        super().__init__(pipeline, guided_share)
        del self._components["controlnet"]  # which the pipelines of requests without a skeleton do not take
        self._controlnet = _SkippedAtZero(pipeline.controlnet, "controlnet", CONTROLNET_METHODS, Role.GUIDES)

    def _kind_for(self, inputs: GenerationInputs) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        if inputs.skeleton is None or inputs.pose_end == 0:  # which diffusers refuses
            return super()._kind_for(inputs)
        return (
            StableDiffusionXLControlNetPipeline,
            {"controlnet": self._controlnet},
            {
                "image": inputs.skeleton,
                "width": inputs.width,
                "height": inputs.height,
                "controlnet_conditioning_scale": inputs.pose_strength,
                # Of the step that it ends in, diffusers guides none: a short pose is guided for one step at least.
                "control_guidance_end": max(inputs.pose_end, 1 / inputs.steps),
            },
        )


class _SkippedAtZero(SharedModule):
    """A shared ControlNet that is not called for residuals that are scaled to zero, as after the pose's end."""

    def __call__(self, *args: Any, conditioning_scale: float, **kwargs: Any) -> Any:
        if conditioning_scale == 0:
            return None, None
        return super().__call__(*args, conditioning_scale=conditioning_scale, **kwargs)
