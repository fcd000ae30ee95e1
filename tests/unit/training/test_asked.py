"""What is asked for is the same each time, and was not trained on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from training.asked import among_other_words, held_out, pairs, people, with_filled_middles, with_holes
from training.captions import captions
from training.world import PERSON, Scene, is_held_out


@pytest.mark.parametrize("asked", [held_out, pairs, with_filled_middles, with_holes, people])
def test_it_is_the_same_each_time(asked: Callable[[int], list[Any]]) -> None:
    assert asked(20) == asked(30)[:20]


def combinations(scenes: Iterable[Scene]) -> set[tuple[str, str, str]]:
    return {(thing.kind, thing.colour, scene.background) for scene in scenes for thing in scene.things}


def test_nothing_of_it_was_trained_on() -> None:
    scenes = [
        *(one.scene for one in [*held_out(50), *pairs(50)]),
        *with_filled_middles(50),
        *(one.told.scene for one in with_holes(50)),
    ]
    assert all(is_held_out(scene) for scene in scenes)
    trained = combinations(one.scene for one in captions(2000, random.Random(0)))
    assert all(combinations([scene]) - trained for scene in scenes)


def test_people_stand_alone() -> None:
    assert all([thing.kind for thing in scene.things] == [PERSON] for scene in people(20))


def test_other_words_are_around_each_prompt() -> None:
    prompts = [one.prompt for one in held_out(20)]
    among = among_other_words(prompts)
    assert all(prompt in text and prompt != text for prompt, text in zip(prompts, among, strict=True))
    assert len({text.replace(prompt, "") for prompt, text in zip(prompts, among, strict=True)}) == 8
