"""Draws poses as the OpenPose ControlNets were trained to read them: the one renderer, whatever found the joints.

The measure is `controlnet_aux.open_pose.util`: its order, colours and widths at every size, pixel for pixel.
Invariants: a picture is exactly as large as was asked for, and black where nothing is drawn; coordinates are fractions
of a picture, and a joint outside of it is none.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from deployments.types import Person, Point

if TYPE_CHECKING:
    from numpy.typing import NDArray

Joints = tuple[Point | None, ...]

JOINTS = (  # COCO-18, the order of `Person.body`
    *("nose", "neck"),
    *("right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist"),
    *("right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle"),
    *("right eye", "left eye", "right ear", "left ear"),
)
LIMBS = (  # pairs of joints, in the order in which they are drawn over each other
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7)),
    *((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
_FINGERS = tuple((0, *range(root, root + 4)) for root in (1, 5, 9, 13, 17))  # from the wrist to the tip
_BONES = tuple(pair for finger in _FINGERS for pair in pairwise(finger))


def _hues(count: int) -> list[tuple[float, ...]]:
    """So many colours from once around the circle of hues, 0 … 255."""
    return [tuple(255 * value for value in colorsys.hsv_to_rgb(place / count, 1, 1)) for place in range(count)]


_JOINT_COLOURS = [tuple(round(value) for value in colour) for colour in _hues(len(JOINTS))]
_LIMB_COLOURS = [tuple(int(value * 0.6) for value in colour) for colour in _JOINT_COLOURS[: len(LIMBS)]]
_BONE_COLOURS = _hues(len(_BONES))
_HAND_JOINT_COLOUR = (0, 0, 255)
# Pixels.
_LIMB_HALF_WIDTH = 4
_BONE_WIDTH = 2
_JOINT_RADIUS = 4


def draw(people: Iterable[Person], width: int, height: int, *, wide: bool = False) -> NDArray[np.uint8]:
    """RGB pixels of shape (height, width, 3): everybody's limbs, with the joints on top of them, and the hands.

    `wide`: with limbs as xinsir/controlnet-openpose-sdxl-1.0 was trained on, twice as wide from 500 pixels, three times
    from 1000, and so on up to seven times; as its model card draws them.
    """
    longer = max(width, height)
    times = min(2 + longer // 1000, 7) if wide and longer >= 500 else 1
    pixels = np.zeros((height, width, 3), np.uint8)
    for person in people:
        _draw_body(pixels, _in_pixels(person.body, width, height), times * _LIMB_HALF_WIDTH)
        for hand in (person.left_hand, person.right_hand):
            _draw_hand(pixels, _in_pixels(hand, width, height))
    return pixels


def fit(people: Iterable[Person], canvas: tuple[int, int], width: int, height: int) -> tuple[Person, ...]:
    """People of a canvas in fractions of a picture of width × height that shows all of the canvas, centred and in its
    proportions."""
    scale = min(width / canvas[0], height / canvas[1])
    share = canvas[0] * scale / width, canvas[1] * scale / height  # of the picture that the canvas covers

    def move(joint: Point | None) -> Point | None:
        if joint is None or not (0 <= joint[0] <= 1 and 0 <= joint[1] <= 1):
            return None
        return 0.5 + (joint[0] - 0.5) * share[0], 0.5 + (joint[1] - 0.5) * share[1]

    return tuple(
        Person(
            body=tuple(map(move, person.body)),
            left_hand=tuple(map(move, person.left_hand)),
            right_hand=tuple(map(move, person.right_hand)),
        )
        for person in people
    )


def fit_drawing(drawing: Image.Image, width: int, height: int) -> Image.Image:
    """A skeleton drawn elsewhere, RGB or RGBA, as an RGB picture of width × height: placed as `fit` does, on black."""
    scale = min(width / drawing.width, height / drawing.height)
    size = max(1, round(drawing.width * scale)), max(1, round(drawing.height * scale))
    if size != drawing.size:
        drawing = drawing.resize(size, Image.Resampling.BILINEAR)  # sharper ones make colours that no joint has
    picture = Image.new("RGB", (width, height))
    corner = (width - size[0]) // 2, (height - size[1]) // 2
    picture.paste(drawing, corner, drawing if drawing.mode == "RGBA" else None)
    return picture


def is_recognisable(person: Person) -> bool:
    """Whether there is enough of them to guide by: three joints, and a limb between two."""
    visible = sum(joint is not None for joint in person.body)
    return visible >= 3 and any(person.body[start] and person.body[end] for start, end in LIMBS)


def _in_pixels(joints: Joints, width: int, height: int) -> Joints:
    return tuple(None if joint is None else (joint[0] * width, joint[1] * height) for joint in joints)


def _draw_body(pixels: NDArray[np.uint8], joints: Joints, half_width: int) -> None:
    import cv2  # a replica needs it, the process that builds the application does not

    for (first, second), colour in zip(LIMBS, _LIMB_COLOURS, strict=True):
        start, end = joints[first], joints[second]
        if start is None or end is None:
            continue
        centre = int((start[0] + end[0]) / 2), int((start[1] + end[1]) / 2)
        axes = int(math.dist(start, end) / 2), half_width
        angle = int(math.degrees(math.atan2(start[1] - end[1], start[0] - end[0])))
        outline = np.asarray(cv2.ellipse2Poly(centre, axes, angle, 0, 360, 1))
        cv2.fillConvexPoly(pixels, outline, colour)
    for joint, colour in zip(joints, _JOINT_COLOURS, strict=True):
        if joint is not None:
            cv2.circle(pixels, (int(joint[0]), int(joint[1])), _JOINT_RADIUS, colour, thickness=-1)


def _draw_hand(pixels: NDArray[np.uint8], joints: Joints) -> None:
    import cv2  # as above

    if not joints:
        return
    for (first, second), colour in zip(_BONES, _BONE_COLOURS, strict=True):
        start, end = joints[first], joints[second]
        if start is None or end is None:
            continue
        ends = (int(start[0]), int(start[1])), (int(end[0]), int(end[1]))
        cv2.line(pixels, *ends, colour, thickness=_BONE_WIDTH)
    for joint in joints:
        if joint is not None:
            cv2.circle(pixels, (int(joint[0]), int(joint[1])), _JOINT_RADIUS, _HAND_JOINT_COLOUR, thickness=-1)
