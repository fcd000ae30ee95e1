"""Scenes are what they say: drawn from their facts alone, at any size, and told apart by their pixels."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from training.measure import overlap
from training.world import (
    COLOURS,
    PERSON,
    SHAPES,
    Scene,
    Thing,
    colour_of,
    coverage,
    draw,
    is_held_out,
    placed_figure,
    random_scene,
)


def scenes(count: int, **shares: float) -> list[Scene]:
    chance = random.Random(0)
    return [random_scene(chance, **shares) for _ in range(count)]


def test_a_seed_gives_the_same_pixels() -> None:
    first, again = scenes(20), scenes(20)
    assert first == again
    assert all(np.array_equal(draw(one, 64, 48), draw(other, 64, 48)) for one, other in zip(first, again, strict=True))
    assert draw(first[0], 64, 48).shape == (48, 64, 3)


def test_things_stand_before_another_colour_and_beside_each_other() -> None:
    for scene in scenes(300):
        assert all(thing.colour != scene.background for thing in scene.things)
        if len(scene.things) == 2:
            one, other = (coverage(thing, 64, 64) > 0 for thing in scene.things)
            assert not (one & other).any(), scene


def test_a_picture_has_the_colours_of_its_scene() -> None:
    scene = Scene(things=(Thing(kind="square", colour="red"),), background="blue")
    picture = draw(scene, 64, 64)
    assert tuple(picture[0, 0]) == COLOURS["blue"]
    assert tuple(picture[32, 32]) == COLOURS["red"]


def test_a_picture_scales() -> None:
    thing = Thing(kind="star", colour="red", centre=(0.3, 0.6), radius=0.25)
    small, large = coverage(thing, 64, 64), coverage(thing, 256, 256)
    difference = np.abs(small - large.reshape(64, 4, 64, 4).mean((1, 3)))
    assert difference.max() < 0.3
    assert difference.mean() < 0.005


def test_shapes_differ() -> None:
    covers = {kind: coverage(Thing(kind=kind, colour="red", radius=0.4), 128, 128) > 0.5 for kind in SHAPES}
    for kind, cover in covers.items():
        assert 0.15 < cover.mean() < 0.65
        assert all(overlap(cover, other) < 0.85 for name, other in covers.items() if name != kind)


@pytest.mark.parametrize("colour", COLOURS)
def test_the_strength_of_a_colour_is_how_far_from_grey_it_is(colour: str) -> None:
    thing = Thing(kind="circle", colour=colour)
    assert colour_of(thing) == COLOURS[colour]
    assert set(colour_of(replace(thing, strength=0.0))) == {128.0}
    distances = [np.ptp([*colour_of(replace(thing, strength=strength)), 128]) for strength in (0.2, 0.6, 1.0, 1.4)]
    assert distances == sorted(distances)


def test_an_eighth_of_single_shapes_is_held_out_and_whatever_has_one_of_them() -> None:
    assert 0.08 < np.mean([is_held_out(scene) for scene in scenes(2000, people=0.0, pairs=0.0)]) < 0.17
    assert not any(is_held_out(scene) for scene in scenes(100, people=1.0))
    for pair in scenes(200, people=0.0, pairs=1.0):
        alone = [Scene(things=(thing,), background=pair.background) for thing in pair.things]
        assert is_held_out(pair) == any(is_held_out(one) for one in alone)


def test_figures_stay_in_the_picture() -> None:
    for scene in scenes(100, people=1.0):
        (person,) = scene.things
        assert person.kind == PERSON
        joints = placed_figure(person, 96, 64).body
        assert all(joint is not None and 0 <= joint[0] <= 1 and 0 <= joint[1] <= 1 for joint in joints)
