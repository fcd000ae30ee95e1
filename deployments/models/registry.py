"""The model families: a line here and a file beside it make one.

Importing this module costs nothing: the ingress reads capabilities from it on machines without torch weights, and only
a replica loads the family's own module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from config.schema import Family

Capability = Literal["text-to-image", "image-to-image", "inpainting", "pose"]


@dataclass(frozen=True, slots=True)
class FamilyTraits:
    """What is true of every model of a family, whatever its weights."""

    factory: str  # "module:class" of a DiffusionModel
    capabilities: tuple[Capability, ...]
    size_multiple: int  # width and height are multiples of it
    rounds_size: bool = False  # down to such a multiple, instead of refusing
    useless: tuple[str, ...] = ()  # fields of a request that have no meaning for it


FAMILIES: dict[Family, FamilyTraits] = {
    "sdxl": FamilyTraits(
        "deployments.models.sdxl:StableDiffusionXL", ("text-to-image", "image-to-image", "inpainting"), 8
    ),
    "sdxl-pose": FamilyTraits("deployments.models.sdxl_pose:StableDiffusionXLPose", ("text-to-image", "pose"), 8),
    "flux-schnell": FamilyTraits(
        "deployments.models.flux:FluxSchnell", ("text-to-image",), 16, useless=("guidance_scale", "negative_prompt")
    ),
    "flux-fill": FamilyTraits(
        "deployments.models.flux_fill:FluxFill", ("inpainting",), 16, rounds_size=True, useless=("negative_prompt",)
    ),
}
