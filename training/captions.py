"""Scenes in words: the same thing said in many ways, more or less of it, and sometimes with weights.

A caption knows of each of its words what it speaks of, so that text encoders can be taught to see that. What a caption
leaves out can be anything in the picture, so that negative prompts of a word or two mean something too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.world import PAIRS, PERSON, Scene, Thing, is_held_out, random_scene

BACKGROUND = -1  # what a word speaks of, if of no thing
PEOPLE = ("person", "man", "woman", "figure")
OPENINGS = ("a picture of", "a photo of", "a drawing of", "an image of", "an illustration of", "a painting of")
ENDINGS = (", minimal", ", flat style", ", high quality", ", highly detailed", ", simple shapes", ", best quality")
WHERE = {
    "middle": ("in the middle", "in the center", "in the centre"),
    "left": ("on the left", "at the left", "on the left side"),
    "right": ("on the right", "at the right", "on the right side"),
    "top": ("at the top", "on the top side"),
    "bottom": ("at the bottom", "on the bottom side"),
}


@dataclass(frozen=True, slots=True)
class Word:
    """A stretch of a caption, one or more words."""

    text: str
    about: int | None = None  # the index of a thing, BACKGROUND, or of nothing
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Caption:
    """Words, and what of a scene they tell."""

    words: tuple[Word, ...]
    scene: Scene
    tells_background: bool = True
    tells_things: bool = True
    tells_colour: bool = True  # of the things
    tells_kind: bool = True

    @property
    def tells_all(self) -> bool:
        """Whether nothing of the scene is left open but small moves, and poses."""
        return self.tells_background and self.tells_things and self.tells_colour and self.tells_kind

    @property
    def plain(self) -> str:
        """As an encoder reads it."""
        return "".join(stretch.text for stretch in self.stretches())

    @property
    def prompt(self) -> str:
        """As a person writes it, with weights."""
        return "".join(
            stretch.text if stretch.weight == 1 else f" ({stretch.text.strip()}){stretch.weight:g}"
            for stretch in self.stretches()
        ).strip()

    def stretches(self) -> list[Word]:
        """The words with the spaces between them."""
        first, *others = (word.text for word in self.words)
        spaced = with_spaces([first.lstrip(", "), *others])
        return [replace(word, text=text) for word, text in zip(self.words, spaced, strict=True)]


def with_spaces(texts: Sequence[str]) -> list[str]:
    """Stretches of a text, each with the space that is before it: none at the start and before a comma."""
    return [text if index == 0 or text.startswith(",") else f" {text}" for index, text in enumerate(texts)]


def caption(scene: Scene, chance: random.Random) -> Caption:
    """One of the many of a scene. A colour that is not of strength 1 is told by the weight of its word."""
    tells_background = chance.random() < 0.88
    tells_things = not tells_background or chance.random() < 0.97
    tells_colour = chance.random() < 0.94 or any(thing.strength != 1 for thing in scene.things)
    tells_kind = not tells_colour or chance.random() < 0.95
    words: list[Word] = []
    if tells_things:
        if chance.random() < 0.25:
            words.append(Word(chance.choice(OPENINGS)))
        words += _things(scene, chance, tells_colour, tells_kind)
    if tells_background:
        words += _background(scene, chance)
    if chance.random() < 0.15:
        words.append(Word(chance.choice(ENDINGS)))
    return Caption(tuple(words), scene, tells_background, tells_things, tells_colour, tells_kind)


def captions(count: int, chance: random.Random, **shares: float) -> list[Caption]:
    """Of scenes to train on; `shares` are those of `random_scene`."""
    found: list[Caption] = []
    while len(found) < count:
        scene = random_scene(chance, **shares)
        if not is_held_out(scene):
            found.append(caption(scene, chance))
    return found


def plainest(scene: Scene) -> Caption:
    """What a newcomer would write."""
    chance = random.Random(0)
    words: list[Word] = []
    for index, thing in enumerate(scene.things):
        words += [Word("and")] if index else []
        words += _phrase(thing, index, chance, is_plain=True)
    words.append(Word(f"on {_article(scene.background)} {scene.background} background", BACKGROUND))
    return Caption(tuple(words), scene)


def _things(scene: Scene, chance: random.Random, tells_colour: bool, tells_kind: bool) -> list[Word]:
    phrases = [
        _phrase(thing, index, chance, tells_colour=tells_colour, tells_kind=tells_kind)
        for index, thing in enumerate(scene.things)
    ]
    if len(phrases) == 1:
        thing = scene.things[0]
        told = thing.place != "middle" or (thing.kind != PERSON and chance.random() < 0.15)
        return phrases[0] + ([Word(chance.choice(WHERE[thing.place]), 0)] if told else [])
    is_above = scene.things[0].place == PAIRS[1][0]
    way = chance.random()
    if is_above and way < 0.6:
        if chance.random() < 0.5:
            return [*phrases[0], Word("above"), *phrases[1]]
        return [*phrases[1], Word("below"), *phrases[0]]
    if not is_above and way < 0.4:
        return [*phrases[0], Word(chance.choice(["and", "beside", "next to", "with"])), *phrases[1]]
    order = [0, 1] if chance.random() < 0.6 else [1, 0]
    placed = [[*phrases[index], Word(WHERE[scene.things[index].place][0], index)] for index in order]
    return [*placed[0], Word("and"), *placed[1]]


def _phrase(
    thing: Thing,
    index: int,
    chance: random.Random,
    *,
    tells_colour: bool = True,
    tells_kind: bool = True,
    is_plain: bool = False,
) -> list[Word]:
    name = chance.choice(PEOPLE) if thing.kind == PERSON and not is_plain else thing.kind
    name = name if tells_kind else chance.choice(["shape", "one"])
    colour = Word(thing.colour, index, thing.strength)
    before = [Word(chance.choice(_SIZES[thing.size]), index)] if thing.size else []
    article = "a" if before else _article(thing.colour)
    if not tells_colour:
        return [Word("a", index), *before, Word(name, index)]
    if not is_plain and chance.random() < (0.5 if thing.kind == PERSON else 0.1):
        link = chance.choice(["in", "dressed in", "wearing"]) if thing.kind == PERSON else "in"
        return [Word("a", index), *before, Word(f"{name} {link}", index), colour]
    start = [] if not is_plain and chance.random() < 0.1 else [Word(article, index)]
    return [*start, *before, colour, Word(name, index)]


def _background(scene: Scene, chance: random.Random) -> list[Word]:
    colour = scene.background
    article = _article(colour)
    ways = [f"on {article} {colour} background"] * 5 + [
        f"on {colour}",
        f", {colour} background",
        f"in front of {article} {colour} background",
        f"before {article} {colour} background",
        f"with {article} {colour} background",
    ]
    return [Word(chance.choice(ways), BACKGROUND)]


def _article(colour: str) -> str:
    return "an" if colour == "orange" else "a"


_SIZES = {"small": ("small", "tiny", "little"), "large": ("large", "big", "huge")}
