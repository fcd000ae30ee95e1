"""Pixels to bytes: the one place where pictures are encoded. Nothing but pixels goes in, so no metadata comes out."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deployments.types import OutputFormat

# Looks for runs only: in a picture with grain nothing else repeats, so that its files are as small as those of the
# default level, and it is as fast as the fastest (benchmarks/png.py). Text and smooth gradients would be larger.
_PNG_STRATEGY = zlib.Z_RLE


def encode(picture: NDArray[np.uint8], output_format: OutputFormat, compression: int) -> bytes:
    """Encodes uint8 pixels of shape (height, width, 3). `compression` is the quality, 0 … 100, of jpeg and webp."""
    target = io.BytesIO()
    image = Image.fromarray(picture)
    if output_format == "png":
        image.save(target, "PNG", compress_type=_PNG_STRATEGY)
    else:
        image.save(target, output_format.upper(), quality=compression)
    return target.getvalue()
