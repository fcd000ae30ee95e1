"""What is measured of a drawn scene is what was drawn, and nothing is seen where nothing is."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from training.measure import Seen, look, overlap, strength_of
from training.world import COLOURS, SHAPES, Scene, Thing, draw, random_scene


@pytest.mark.parametrize("size", [64, 128, 256])
def test_drawn_scenes_are_seen_as_they_are(size: int) -> None:
    chance = random.Random(size)
    for _ in range(100):
        scene = random_scene(chance, people=0.0, pairs=0.0)
        thing = replace(scene.things[0], strength=1.0)
        picture = draw(replace(scene, things=(thing,)), size, size)
        assert look(picture) == Seen(scene.background, thing.colour, thing.kind)


def test_noise_and_blur_do_not_confuse_it() -> None:
    chance, noise = random.Random(0), np.random.default_rng(0)
    right = 0
    for kind in SHAPES:
        thing = Thing(kind=kind, colour="red", centre=(0.5, 0.48), radius=0.3 * chance.uniform(0.9, 1.1))
        picture = draw(Scene(things=(thing,), background="white"), 128, 128)
        noisy = np.clip(picture + noise.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
        right += look(noisy) == Seen("white", "red", kind)
    assert right == len(SHAPES)


@pytest.mark.parametrize("colour", COLOURS)
def test_the_strength_of_a_colour_is_seen(colour: str) -> None:
    strengths = [0.5, 1.0, 1.5]
    things = [Thing(kind="circle", colour=colour, strength=strength) for strength in strengths]
    seen = [strength_of(draw(Scene(things=(thing,), background="white"), 64, 64), colour) for thing in things]
    assert seen[:2] == pytest.approx([0.5, 1.0], abs=0.02)
    assert seen[2] > 1.05  # of most colours a channel is at its end there


def test_an_empty_picture_shows_only_its_background() -> None:
    picture = draw(Scene(things=(), background="green"), 64, 64)
    assert look(picture) == Seen("green", None, None)


def test_only_what_is_within_counts() -> None:
    picture = draw(Scene(things=(Thing(kind="star", colour="red"),), background="blue"), 64, 64)
    nowhere = np.zeros((64, 64), bool)
    assert look(picture, nowhere) == Seen("blue", None, None)


def test_overlap_is_intersection_over_union() -> None:
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    one[:2], other[1:3] = True, True
    assert overlap(one, other) == pytest.approx(1 / 3)
    assert overlap(one, one) == 1


def test_colours_are_far_enough_apart() -> None:
    names = list(COLOURS)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            assert np.linalg.norm(np.subtract(COLOURS[name], COLOURS[other])) > 70
