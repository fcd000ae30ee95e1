"""Captions tell the truth, in words that the tokenizers know, with weights that the service reads."""

from __future__ import annotations

import random

from deployments.models.prompt import parse, plain_text
from training.captions import BACKGROUND, caption, captions, plainest
from training.tokenizers import WORDS
from training.world import PERSON, Scene, Thing, is_held_out, random_scene


def test_what_a_caption_tells_is_in_the_scene() -> None:
    chance = random.Random(0)
    for _ in range(500):
        scene = random_scene(chance)
        told = caption(scene, chance)
        for thing in scene.things if told.tells_things else ():
            assert (thing.colour in told.plain) == told.tells_colour
            if thing.kind != PERSON and told.tells_kind:
                assert thing.kind in told.plain
        assert not told.tells_background or scene.background in told.plain
        assert all(word in WORDS for word in told.plain.replace(",", " ").split()), told.plain


def test_the_service_reads_the_weights_that_were_meant() -> None:
    chance = random.Random(1)
    weighted = 0
    for _ in range(500):
        told = caption(random_scene(chance), chance)
        fragments = parse(told.prompt)
        assert plain_text(fragments) == told.plain
        meant = {(word.text, word.weight) for word in told.words if word.weight != 1}
        assert {(fragment.text, fragment.weight) for fragment in fragments if fragment.weight != 1} == meant
        weighted += bool(meant)
    assert weighted > 20


def test_nothing_held_out_is_trained_on() -> None:
    assert not any(is_held_out(told.scene) for told in captions(300, random.Random(0)))


def test_every_word_knows_what_it_speaks_of() -> None:
    things = (
        Thing(kind="star", colour="red", place="left"),
        Thing(kind="heart", colour="blue", place="right"),
    )
    told = plainest(Scene(things=things, background="orange"))
    assert told.plain == "a red star and a blue heart on an orange background"
    assert [word.about for word in told.words] == [0, 0, 0, None, 1, 1, 1, BACKGROUND]
    assert "".join(word.text for word in told.stretches()) == told.plain


def test_the_same_scene_is_told_in_many_ways() -> None:
    chance = random.Random(2)
    scene = Scene(things=(Thing(kind="star", colour="red"),), background="blue")
    assert len({caption(scene, chance).plain for _ in range(200)}) > 50
