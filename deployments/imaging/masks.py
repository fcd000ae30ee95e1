"""One meaning for every mask inside: mode L, 255 = repaint, 0 = keep.

Outside there are two. "alpha": a mask with an alpha channel repaints where it is transparent, one without where it is
white. "white": white is repainted, whatever the alpha says; what is transparent is kept. Where no mask is sent, the
picture's own transparent area is repainted, if any of it is at least half transparent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageChops

from deployments.errors import InvalidRequest

if TYPE_CHECKING:
    from deployments.types import MaskReading

_HALF_OPAQUE = 128


def mask_of(image: Image.Image, mask: Image.Image | None, reading: MaskReading = "alpha") -> Image.Image | None:
    """The mask to use with `image`, of the same size; None: the whole picture is to be changed (image-to-image).

    Raises InvalidRequest when the sizes differ.
    """
    if mask is None:
        # A shadow of transparency, as of smoothed corners, is no wish to repaint them.
        has_hole = image.mode == "RGBA" and any(image.getchannel("A").histogram()[: _HALF_OPAQUE + 1])
        return _transparency(image) if has_hole else None
    if mask.size != image.size:
        raise InvalidRequest(
            f"mask: must be as large as the image, {image.width}x{image.height}, and is {mask.width}x{mask.height}.",
            param="mask",
        )
    if mask.mode != "RGBA":
        return mask.convert("L")
    return _transparency(mask) if reading == "alpha" else _on_black(mask).convert("L")


def _transparency(image: Image.Image) -> Image.Image:
    return ImageChops.invert(image.getchannel("A"))


def _on_black(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
