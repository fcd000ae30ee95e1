"""Brings a picture and its mask to the size that was asked for, and that to one that a model can work on; and back.

Invariants: proportions are never distorted. With a mask, a picture of another shape is fitted inside and what is beyond
it is painted (outpainting); without one, it is cropped around its centre. What the mask keeps leaves as it came in, bit
for bit where the picture had the size asked for: the model's version of it is discarded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

REPAINT = 255


@dataclass(frozen=True, slots=True)
class Canvas:
    """What a model is given, of the size that it works on, and the size that leaves."""

    picture: Image.Image  # RGB
    mask: Image.Image | None  # L, 255 = repaint
    width: int
    height: int

    def finish(self, painted: Image.Image) -> Image.Image:
        """The picture to answer with, from what the model painted: RGB, of the canvas's size."""
        if self.mask is not None:
            painted = Image.composite(painted, self.picture, self.mask)
        return painted.crop((0, 0, self.width, self.height))


def canvas_of(picture: Image.Image, mask: Image.Image | None, width: int, height: int, multiple: int) -> Canvas:
    """The canvas of width × height for `picture` (any mode, any size) and `mask` (L, as large as the picture, or None).

    Its sides are rounded up to `multiple` by repeating the last pixels, which `finish` cuts off again.
    """
    picture, size = picture.convert("RGB"), (width, height)
    if picture.size != size and mask is None:
        picture = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    elif picture.size != size and mask is not None:
        picture, mask = _fit_inside(picture, mask, size, multiple)
    return Canvas(
        picture=_extend(picture, 0, -width % multiple, 0, -height % multiple),
        mask=None if mask is None else _extend(mask, 0, -width % multiple, 0, -height % multiple),
        width=width,
        height=height,
    )


def _fit_inside(
    picture: Image.Image, mask: Image.Image, size: tuple[int, int], multiple: int
) -> tuple[Image.Image, Image.Image]:
    width, height = size
    scale = min(width / picture.width, height / picture.height)
    inner_width, inner_height = (max(1, round(side * scale)) for side in picture.size)
    if width - inner_width < multiple and height - inner_height < multiple:
        inner_width, inner_height = size  # nearly the same shape: better stretched by a hair than a sliver painted
    picture = picture.resize((inner_width, inner_height), Image.Resampling.LANCZOS)
    mask = mask.resize((inner_width, inner_height), Image.Resampling.NEAREST)
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    outer_mask = Image.new("L", size, REPAINT)
    outer_mask.paste(mask, (left, top))
    return _extend(picture, left, width - inner_width - left, top, height - inner_height - top), outer_mask


def _extend(image: Image.Image, left: int, right: int, top: int, bottom: int) -> Image.Image:
    """With its border pixels repeated outwards: a hard edge would shine through the latents beside it."""
    if not (left or right or top or bottom):
        return image
    pixels = np.asarray(image)
    return Image.fromarray(np.pad(pixels, [(top, bottom), (left, right)] + [(0, 0)] * (pixels.ndim - 2), mode="edge"))
