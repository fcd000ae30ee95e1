"""What the small models are asked for to be measured, the same each time.

None of it was trained on: combinations of shape, colour and background that were held out, holes and poses of other
seeds, and phrases around captions as people write them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from training.captions import Caption, caption
from training.holes import Holed, random_holed
from training.world import COLOURS, Scene, Thing, is_held_out, random_scene

SEED = 1_000_000  # training knows only small ones
SURROUNDINGS = (
    "masterpiece, {}, 8k uhd, trending on artstation",
    "{}, in the style of Vincent van Gogh",
    "please draw me {}, thanks!",
    "an oil painting by my daughter that shows {}",
    "{} - unreal engine, octane render, hyperrealistic",
    "Minimalist poster: {}, swiss design, behance",
    "🎨 {} ✨",
    "{}, 35mm, f/1.8, bokeh, kodak portra 400",
)


def held_out(count: int) -> list[Caption]:
    """Of single shapes, all of them told."""
    return _captions(count, pairs=0.0)


def pairs(count: int) -> list[Caption]:
    """Of two shapes beside or above each other, all of them told."""
    return _captions(count, pairs=1.0)


def _captions(count: int, pairs: float) -> list[Caption]:
    chance = random.Random(SEED)
    asked: list[Caption] = []
    while len(asked) < count:
        scene = random_scene(chance, people=0.0, pairs=pairs)
        told = caption(scene, chance)
        if is_held_out(scene) and all(thing.strength == 1 for thing in scene.things) and told.tells_all:
            asked.append(told)
    return asked


def among_other_words(prompts: Sequence[str]) -> list[str]:
    """Each in the next of the surroundings."""
    return [SURROUNDINGS[index % len(SURROUNDINGS)].format(prompt) for index, prompt in enumerate(prompts)]


def with_filled_middles(count: int) -> list[Scene]:
    """Single shapes in the middle of the picture, whose own middle is filled."""
    chance = random.Random(SEED)
    asked: list[Scene] = []
    while len(asked) < count:
        background, colour = chance.sample(list(COLOURS), 2)
        thing = Thing(kind=chance.choice(["circle", "square", "heart"]), colour=colour)
        scene = Scene(things=(thing,), background=background)
        asked += [scene] if is_held_out(scene) else []
    return asked


def with_holes(count: int) -> list[Holed]:
    """Into which a single shape belongs, held out, amid what the world has."""
    chance = random.Random(SEED)
    asked: list[Holed] = []
    while len(asked) < count:
        one = random_holed(chance)
        thing = one.told.scene.things[0]
        is_put_in = len(one.after.things) > len(one.before.things) and one.hole != (0, 0, 1, 1)
        if is_held_out(one.told.scene) and is_put_in and thing.strength == 1 and one.strange is None:
            asked.append(one)
    return asked


def people(count: int) -> list[Scene]:
    """Single ones, in poses of all kinds and clothes of full colour."""
    chance = random.Random(SEED)
    scenes = [random_scene(chance, people=1.0, pairs=0.0) for _ in range(count)]
    return [replace(one, things=(replace(one.things[0], strength=1.0),)) for one in scenes]
