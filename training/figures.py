"""Flat figures of people: where their joints are, and how they are drawn.

Joints are in the order of `deployments.pose.skeleton.JOINTS`, so that the service's own skeletons show the same pose. A
figure faces us: its right arm is on the picture's left.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from deployments.pose.skeleton import JOINTS, LIMBS
from deployments.types import Person

if TYPE_CHECKING:
    import random

    from numpy.typing import NDArray

SKIN = (235, 190, 150)
# In shares of the height of a figure that stands straight.
_NECK_TO_HIPS, _NECK_TO_HEAD, _HALF_SHOULDERS, _HALF_HIPS = 0.30, 0.13, 0.11, 0.07
_UPPER_ARM, _LOWER_ARM, _UPPER_LEG, _LOWER_LEG = 0.17, 0.16, 0.23, 0.22
_HEAD_RADIUS, _LIMB_RADIUS, _TRUNK_RADIUS = 0.085, 0.045, 0.075
_MARGIN = 0.06  # around the joints, in shares of the square that they are fitted into
OVERSAMPLING = 3
HEAD_JOINTS = frozenset(range(14, 18)) | {0}


def random_figure(chance: random.Random) -> Person:
    """Somebody in any pose, who fills the unit square with arms and legs."""
    lean = chance.gauss(0, 0.12)
    neck = (0.0, 0.0)
    hips = _from(neck, lean, _NECK_TO_HIPS)
    head = _from(neck, math.pi + lean + chance.gauss(0, 0.12), _NECK_TO_HEAD)
    joints: dict[str, tuple[float, float]] = {"nose": head, "neck": neck}
    for side, sign in (("right", -1), ("left", 1)):
        shoulder = (neck[0] + sign * _HALF_SHOULDERS, neck[1] + 0.02)
        hip = (hips[0] + sign * _HALF_HIPS, hips[1])
        arm = sign * chance.uniform(0.15, 2.75)  # from straight down outwards to almost straight up
        leg = sign * abs(chance.gauss(0.12, 0.35))
        elbow = _from(shoulder, arm, _UPPER_ARM)
        knee = _from(hip, leg, _UPPER_LEG)
        joints |= {
            f"{side} shoulder": shoulder,
            f"{side} elbow": elbow,
            f"{side} wrist": _from(elbow, arm + sign * chance.uniform(-0.9, 1.3), _LOWER_ARM),
            f"{side} hip": hip,
            f"{side} knee": knee,
            f"{side} ankle": _from(knee, leg - sign * chance.uniform(-0.1, 0.7), _LOWER_LEG),
            f"{side} eye": (head[0] + sign * 0.025, head[1] - 0.02),
            f"{side} ear": (head[0] + sign * 0.06, head[1] - 0.01),
        }
    return Person(body=_fitted([joints[name] for name in JOINTS]))


def _from(start: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
    """`angle` from straight down, to the right."""
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


def _fitted(joints: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The same pose, as large as the unit square allows, its middle there."""
    points = np.array(joints)
    low, high = points.min(0), points.max(0)
    low[1] -= _HEAD_RADIUS * 0.7  # the top of the head has no joint
    scale = (1 - 2 * _MARGIN) / max(high - low)
    moved = (points - (low + high) / 2) * scale + 0.5
    return tuple((float(x), float(y)) for x, y in moved)


def unit_of(person: Person, width: int, height: int) -> float:
    """How many pixels the height of the figure would be, if it stood straight: all its joints there."""
    neck, right, left = (_pixels(person, joint, width, height) for joint in (1, 8, 11))
    middle = (right[0] + left[0]) / 2, (right[1] + left[1]) / 2
    return math.dist(neck, middle) / _NECK_TO_HIPS


def clothes(person: Person, width: int, height: int) -> NDArray[np.float32]:
    """How much of each pixel trunk, arms and legs cover, 0 … 1, of shape (height, width)."""
    canvas, brush = _canvas(width, height)
    unit = unit_of(person, width, height) * OVERSAMPLING
    points = [_pixels(person, joint, canvas.width, canvas.height) for joint in range(len(JOINTS))]
    for first, second in LIMBS:
        if not HEAD_JOINTS & {first, second}:
            _capsule(brush, points[first], points[second], _LIMB_RADIUS * unit)
    hips = (points[8][0] + points[11][0]) / 2, (points[8][1] + points[11][1]) / 2
    _capsule(brush, points[1], hips, _TRUNK_RADIUS * unit)
    return share_covered(canvas, OVERSAMPLING)


def head(person: Person, width: int, height: int) -> NDArray[np.float32]:
    """The same of the head."""
    canvas, brush = _canvas(width, height)
    nose = _pixels(person, 0, canvas.width, canvas.height)
    _capsule(brush, nose, nose, _HEAD_RADIUS * unit_of(person, width, height) * OVERSAMPLING)
    return share_covered(canvas, OVERSAMPLING)


def body(person: Person, width: int, height: int) -> NDArray[np.bool_]:
    """Where the figure is, of shape (height, width)."""
    return np.asarray(np.maximum(clothes(person, width, height), head(person, width, height)) > 0.5)


def draw_figure(
    picture: NDArray[np.float32], person: Person, colour: tuple[float, float, float]
) -> NDArray[np.float32]:
    """The picture, of shape (height, width, 3), with the person in front, in clothes of that colour."""
    height, width = picture.shape[:2]
    for cover, paint in ((clothes(person, width, height), colour), (head(person, width, height), SKIN)):
        picture = picture * (1 - cover[:, :, None]) + np.asarray(paint, np.float32) * cover[:, :, None]
    return picture


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("L", (width * OVERSAMPLING, height * OVERSAMPLING))
    return canvas, ImageDraw.Draw(canvas)


def share_covered(canvas: Image.Image, oversampling: int) -> NDArray[np.float32]:
    """Of each pixel, 0 … 1, from a drawing in white that is so many times as large."""
    share: NDArray[np.float32] = np.asarray(canvas.reduce(oversampling)).astype(np.float32) / np.float32(255)
    return share


def _pixels(person: Person, joint: int, width: int, height: int) -> tuple[float, float]:
    place = person.body[joint]
    assert place is not None
    return place[0] * width, place[1] * height


def _capsule(brush: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], radius: float) -> None:
    brush.line([start, end], fill=255, width=round(2 * radius))
    for x, y in (start, end):
        brush.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
