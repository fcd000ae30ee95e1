"""FLUX.1 Fill: inpainting and outpainting. It has learned guidance, which goes in as a number and costs no rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers import FluxFillPipeline

from deployments.models.flux import Flux

if TYPE_CHECKING:
    from deployments.models.protocol import GenerationInputs


class FluxFill(Flux):
    """FLUX.1 Fill. There is always an image and a mask."""

    pipeline_class = FluxFillPipeline
    text_tokens = 512

    def _arguments(self, inputs: GenerationInputs) -> dict[str, Any]:
        return {
            "image": inputs.image,
            "mask_image": inputs.mask,
            "strength": inputs.strength,
            "guidance_scale": inputs.guidance_scale,
        }
