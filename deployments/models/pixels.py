"""From the picture tensor that a model makes to pixels, off the engine's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from diffusers.image_processor import VaeImageProcessor

from deployments.errors import InvalidOutput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def to_pixels(picture: Tensor) -> NDArray[np.uint8]:
    """uint8 of shape (height, width, 3), rounded as diffusers does, from floats of shape (1, 3, height, width), 0 … 1.

    Raises InvalidOutput when one of them is not finite: rounded, it would be a black pixel.
    """
    values = VaeImageProcessor.pt_to_numpy(picture)
    if not np.isfinite(values).all():
        raise InvalidOutput("The model produced a picture that is not finite.")
    return np.asarray(VaeImageProcessor.numpy_to_pil(values)[0])
