"""The world that the small models know: flat scenes of one or two things in named colours, before a named background.

A scene is the ground truth of a picture. All positions and sizes are shares of a picture, so that one scene can be
drawn at any size. Invariants: the same scene gives the same pixels; the things of a scene do not overlap and have not
the background's colour.
"""

from __future__ import annotations

import math
import random
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from training.figures import draw_figure, random_figure, share_covered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deployments.types import Person

COLOURS = {
    "red": (220, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (245, 220, 40),
    "green": (40, 160, 70),
    "blue": (40, 80, 215),
    "purple": (135, 50, 165),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
PERSON = "person"
PLACES = {"middle": (0.5, 0.5), "left": (0.26, 0.5), "right": (0.74, 0.5), "top": (0.5, 0.26), "bottom": (0.5, 0.74)}
PAIRS = (("left", "right"), ("top", "bottom"))
SIZES = {"small": 0.7, "": 1.0, "large": 1.3}
MIDDLE_RADIUS, BESIDE_RADIUS = 0.3, 0.21  # of the picture's shorter side
GREY = 128  # what a colour of weight 0 is
OVERSAMPLING = 4  # for smooth edges


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One of a scene."""

    kind: str  # of SHAPES, or PERSON
    colour: str  # of COLOURS; a person's clothes
    strength: float = 1.0  # of the colour, 0 … 2: what the weight of its word says
    place: str = "middle"
    size: str = ""
    centre: tuple[float, float] = (0.5, 0.5)  # shares of width and height
    radius: float = MIDDLE_RADIUS  # a share of the shorter side
    figure: Person | None = None  # joints in a square of side 2 radius around the centre, 0 … 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What there is to see."""

    things: tuple[Thing, ...]
    background: str


def random_scene(chance: random.Random, *, people: float = 0.2, pairs: float = 0.25) -> Scene:
    """Any scene; `people` and `pairs` are the probabilities of those with a person and with two things."""
    scene = _random_scene(chance, people, pairs)
    if chance.random() < 0.15:
        strengths = [round(chance.uniform(0.2, 1.8), 1) for _ in scene.things]
        things = zip(scene.things, strengths, strict=True)
        scene = replace(scene, things=tuple(replace(thing, strength=strength) for thing, strength in things))
    return scene


def _random_scene(chance: random.Random, people: float, pairs: float) -> Scene:
    background, *colours = chance.sample(list(COLOURS), 3)
    kind = chance.random()
    if kind < people:
        person = Thing(kind=PERSON, colour=colours[0], radius=0.46, figure=random_figure(chance))
        return Scene(things=(_moved(person, chance),), background=background)
    if kind < people + pairs:
        if chance.random() < 0.15:
            colours[1] = colours[0]
        things = tuple(
            _moved(_shape(chance, colour, place, size=""), chance)
            for colour, place in zip(colours, chance.choice(PAIRS), strict=True)
        )
        return Scene(things=things, background=background)
    place = "middle" if chance.random() < 0.6 else chance.choice(list(PLACES))
    size = chance.choice(list(SIZES)) if place == "middle" else ""
    return Scene(things=(_moved(_shape(chance, colours[0], place, size), chance),), background=background)


def is_held_out(scene: Scene) -> bool:
    """Whether text encoders and denoisers are not trained on it, as it has one of an eighth of all combinations of a
    shape, its colour and a background. Autoencoders, which know no words, see all."""
    combinations = [f"{one.colour} {one.kind} on {scene.background}" for one in scene.things if one.kind != PERSON]
    return any(zlib.crc32(combination.encode()) % 8 == 0 for combination in combinations)


def _shape(chance: random.Random, colour: str, place: str, size: str) -> Thing:
    radius = (MIDDLE_RADIUS if place == "middle" else BESIDE_RADIUS) * SIZES[size]
    return Thing(kind=chance.choice(SHAPES), colour=colour, place=place, size=size, centre=PLACES[place], radius=radius)


def _moved(thing: Thing, chance: random.Random) -> Thing:
    """A little, as no two pictures of the same words are the same."""
    x, y = (place + chance.uniform(-0.02, 0.02) for place in thing.centre)
    return replace(thing, centre=(x, y), radius=thing.radius * chance.uniform(0.94, 1.06))


def draw(scene: Scene, width: int, height: int) -> NDArray[np.uint8]:
    """RGB pixels of shape (height, width, 3)."""
    picture = np.tile(np.asarray(COLOURS[scene.background], np.float32), (height, width, 1))
    for thing in scene.things:
        if thing.figure is not None:
            picture = draw_figure(picture, placed_figure(thing, width, height), colour_of(thing))
        else:
            cover = coverage(thing, width, height)[:, :, None]
            picture = picture * (1 - cover) + np.asarray(colour_of(thing), np.float32) * cover
    return np.asarray(picture.round(), np.uint8)


def colour_of(thing: Thing) -> tuple[float, float, float]:
    """0 … 255."""
    red, green, blue = (min(255.0, max(0.0, GREY + (value - GREY) * thing.strength)) for value in COLOURS[thing.colour])
    return red, green, blue


def coverage(thing: Thing, width: int, height: int) -> NDArray[np.float32]:
    """How much of each pixel a shape covers, 0 … 1, of shape (height, width)."""
    canvas = Image.new("L", (width * OVERSAMPLING, height * OVERSAMPLING))
    radius = thing.radius * min(canvas.size)
    x, y = thing.centre[0] * canvas.width, thing.centre[1] * canvas.height
    ImageDraw.Draw(canvas).polygon([(x + radius * dx, y + radius * dy) for dx, dy in OUTLINES[thing.kind]], fill=255)
    return share_covered(canvas, OVERSAMPLING)


def placed_figure(thing: Thing, width: int, height: int) -> Person:
    """A person's joints as shares of a picture of width × height."""
    assert thing.figure is not None
    half = thing.radius * min(width, height)
    corner = thing.centre[0] * width - half, thing.centre[1] * height - half

    def place(joint: tuple[float, float] | None) -> tuple[float, float] | None:
        return joint and ((corner[0] + joint[0] * 2 * half) / width, (corner[1] + joint[1] * 2 * half) / height)

    return replace(thing.figure, body=tuple(map(place, thing.figure.body)))


def _circle(angle: float) -> tuple[float, float]:
    return math.sin(angle), -math.cos(angle)


def _star(point: int) -> tuple[float, float]:
    x, y = _circle(point * math.pi / 5)
    return (x, y + 0.05) if point % 2 == 0 else (0.42 * x, 0.42 * y + 0.05)


def _heart(angle: float) -> tuple[float, float]:
    x = 16 * math.sin(angle) ** 3
    y = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)
    return x / 16.5, -(y + 2.5) / 16.5


_ROUND = [step * math.tau / 72 for step in range(72)]
_ARM = 0.36
OUTLINES: dict[str, list[tuple[float, float]]] = {  # corners, in shares of the radius from the centre, y downwards
    "circle": [_circle(angle) for angle in _ROUND],
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0.0, -0.95), (1.0, 0.8), (-1.0, 0.8)],
    "star": [_star(point) for point in range(10)],
    "heart": [_heart(angle) for angle in _ROUND],
    "cross": [
        *((-_ARM, -1.0), (_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM)),
        *((_ARM, 1.0), (-_ARM, 1.0), (-_ARM, _ARM), (-1.0, _ARM), (-1.0, -_ARM), (-_ARM, -_ARM)),
    ],
}
