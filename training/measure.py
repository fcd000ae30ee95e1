"""What a picture of the world shows, from its pixels alone: no model judges another.

The background is what the border shows most, a thing is what differs from it. Shapes are told by comparing a thing's
outline with that of each shape, both scaled to one square. `python -m training.evaluate` first measures this on drawn
scenes, whose truth is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from training.world import COLOURS, GREY, SHAPES, Thing, coverage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Mask = NDArray[np.bool_]

_BORDER = 0.04  # of the shorter side
_DIFFERS = 60.0  # from the background, in steps of 255 over all channels together
_LEAST_SHARE = 0.01  # of the picture that a thing covers
_TEMPLATE_SIDE = 48


@dataclass(frozen=True, slots=True)
class Seen:
    """The one thing of a picture and its background; None: nothing that is not background."""

    background: str
    colour: str | None
    kind: str | None


def look(picture: Pixels, within: Mask | None = None) -> Seen:
    """Of RGB pixels of shape (height, width, 3). `within`: only what is there counts as a thing."""
    background = nearest_colour(background_of(picture))
    mask = thing_mask(picture)
    if within is not None:
        mask &= within
    if mask.mean() < _LEAST_SHARE:
        return Seen(background, None, None)
    return Seen(background, nearest_colour(colour_in(picture, mask)), shape_of(mask))


def half(place: str, height: int, width: int) -> Mask:
    """That of a picture which is on the left, on the right, at the top or at the bottom."""
    rows, columns = np.mgrid[0:height, 0:width]
    is_there = {
        "left": columns < width / 2,
        "right": columns >= width / 2,
        "top": rows < height / 2,
        "bottom": rows >= height / 2,
    }
    return np.asarray(is_there[place])


def background_of(picture: Pixels) -> NDArray[np.float64]:
    """The median colour of the border."""
    width = max(2, round(min(picture.shape[:2]) * _BORDER))
    border = [picture[:width], picture[-width:], picture[:, :width].swapaxes(0, 1), picture[:, -width:].swapaxes(0, 1)]
    return np.asarray(np.median(np.concatenate([side.reshape(-1, 3) for side in border]), axis=0))


def thing_mask(picture: Pixels) -> Mask:
    """Where the picture is not background."""
    return np.asarray(np.abs(picture - background_of(picture)).sum(-1) > _DIFFERS)


def colour_in(picture: Pixels, mask: Mask) -> NDArray[np.float64]:
    """The median colour there."""
    return np.asarray(np.median(picture[mask], axis=0))


def strength_of(picture: Pixels, colour: str) -> float:
    """How far the thing in the middle is from grey in the direction of that colour; about 1 for the colour itself."""
    height, width = picture.shape[:2]
    middle = np.zeros((height, width), bool)
    middle[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = True
    direction = np.array(COLOURS[colour]) - GREY
    return float((colour_in(picture, middle) - GREY) @ direction / (direction @ direction))


def nearest_colour(colour: NDArray[np.float64]) -> str:
    """The name of the world's colour that is nearest to RGB of 0 … 255."""
    return min(COLOURS, key=lambda name: float(np.square(colour - COLOURS[name]).sum()))


def shape_of(mask: Mask) -> str:
    """The shape whose outline it is nearest to."""
    cut = _in_its_square(mask)
    return max(SHAPES, key=lambda kind: overlap(cut, _template(kind)))


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union, 0 … 1."""
    return float((one & other).sum() / max(1, (one | other).sum()))


@cache
def _template(kind: str) -> Mask:
    return _in_its_square(coverage(Thing(kind=kind, colour="red", radius=0.45), 256, 256) > 0.5)


def _in_its_square(mask: Mask) -> Mask:
    """The mask's own rectangle, without stray pixels at its sides, scaled to a square."""
    rows, columns = (np.flatnonzero(mask.sum(axis) > 0.02 * mask.shape[axis]) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return np.zeros((_TEMPLATE_SIDE, _TEMPLATE_SIDE), bool)
    cut = Image.fromarray(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return np.asarray(cut.convert("L").resize((_TEMPLATE_SIDE, _TEMPLATE_SIDE), Image.Resampling.BOX)) > 127
