"""Guidance that ends before the picture does: the steps that are left cost one row each instead of two.

This is lossy. diffusers has callbacks for it, but none for inpainting, whose mask they leave with both halves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from deployments.models.steps import StepEndCallback

# What the steps of SDXL's pipelines read that has a row for the negative prompt before the one for the prompt.
_GUIDED = frozenset({"prompt_embeds", "add_text_embeds", "add_time_ids", "image", "mask", "masked_image_latents"})


def guided_for(share: float, pipeline: Any, report: StepEndCallback) -> dict[str, Any]:
    """The arguments with which `pipeline` is guided for that share of its steps, rounded up; all call `report`."""

    def at_step_end(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        report(pipeline, index, timestep, {})
        if pipeline.do_classifier_free_guidance and (index + 1) / pipeline.num_timesteps >= share:
            pipeline._guidance_scale = 0.0  # as diffusers' own callbacks do it
            return {name: tensor.chunk(2)[1] for name, tensor in tensors.items()}
        return tensors

    return {
        "callback_on_step_end": at_step_end,
        "callback_on_step_end_tensor_inputs": [name for name in pipeline._callback_tensor_inputs if name in _GUIDED],
    }
