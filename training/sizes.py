"""The sizes of pictures that the denoisers learn: small squares, as they are cheap, and larger ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Size:
    """Of pictures, in pixels."""

    width: int
    height: int
    batch: int  # so many at a time: a step of any size costs about as much
    share: float  # how many pictures of it there are, against those of the smallest

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


SMALL = Size(128, 128, batch=16, share=1.0)
LARGE = Size(256, 256, batch=6, share=0.28)
OTHERS = tuple(
    Size(width, height, batch=8, share=0.08)
    for width, height in ((256, 192), (192, 256), (256, 144), (144, 256), (192, 192), (224, 160), (160, 224))
)
PICTURE_SIZES = (SMALL, LARGE, *OTHERS)


def any_size(large: float) -> Size:
    """Of a step; `large` is the share of those that are not of the smallest size. Half of these are of the largest."""
    if torch.rand(()) >= large:
        return SMALL
    return LARGE if torch.rand(()) < 0.5 else OTHERS[int(torch.randint(0, len(OTHERS), ()))]
