"""Measures whether the small models draw what they are asked for: `python -m training.evaluate [MODEL ...]`.

Pictures are made as the service makes them, by its own models in its engine, and measured from their pixels, see
training.measure. What is asked for was not trained on, see training.asked. First all is measured on what the pictures
should be, drawn: nothing is told that the measure does not see. Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from config.schema import Preset
from deployments.imaging.canvas import canvas_of
from deployments.models.small import FOLDER
from deployments.pose.skeleton import draw as draw_skeleton
from training.asked import among_other_words, held_out, pairs, people, with_filled_middles, with_holes
from training.captions import plainest
from training.figures import body
from training.measure import half, look, overlap, strength_of, thing_mask
from training.painter import Painter, preset_of
from training.world import draw, placed_figure

if TYPE_CHECKING:
    from deployments.types import Person
    from training.captions import Caption
    from training.holes import Holed
    from training.measure import Pixels
    from training.world import Scene


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured: a share of pictures, a mean share, or seconds."""

    what: str
    value: float
    bar: float
    in_seconds: bool = False  # the bar is then the most, else the least

    @property
    def is_missed(self) -> bool:
        return not (self.value <= self.bar if self.in_seconds else self.value >= self.bar)  # NaN misses

    def __str__(self) -> str:
        told = f"{self.value:.2f} s, at most {self.bar:.0f}"
        told = told if self.in_seconds else f"{self.value:.1%}, at least {self.bar:.0%}"
        return f"{self.what}: {told}{', MISSED' if self.is_missed else ''}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(MEASURES)}; default: all")
    parser.add_argument("--weights", type=Path, default=FOLDER, help="what training.export wrote")
    parser.add_argument("--count", type=int, default=200, help="of pictures for each bar")
    parser.add_argument("--size", type=_size, default=(256, 256), metavar="WIDTHxHEIGHT")
    parser.add_argument("--steps", type=int, help="instead of the preset of config/local.yaml")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--pictures", type=Path, help="a folder for sheets of what was made")
    options = parser.parse_args()
    found = _tell("drawn", measure_itself(options.count, *options.size))
    for name in options.models or MEASURES:
        painter = Painter(name, options.weights, options.size, _preset(name, options), options.pictures)
        try:
            found += _tell(name, MEASURES[name](painter, options.count))
        finally:
            painter.close()
    return int(any(row.is_missed for row in found))


def _size(told: str) -> tuple[int, int]:
    width, height = map(int, told.split("x"))
    return width, height


def _preset(name: str, options: argparse.Namespace) -> Preset:
    told = {"steps": options.steps, "guidance_scale": options.guidance}
    return preset_of(name).model_copy(update={field: value for field, value in told.items() if value is not None})


def _tell(name: str, rows: list[Row]) -> list[Row]:
    for row in rows:
        print(f"{name}: {row}", flush=True)
    return rows


def measure_itself(count: int, width: int, height: int) -> list[Row]:
    """On what the pictures should be."""
    asked, two, holes, posed = held_out(count), pairs(count), with_holes(count), people(count)
    figures = [placed_figure(one.things[0], width, height) for one in posed]
    return [
        *_rows([draw(one.scene, width, height) for one in asked], asked, (0.99, 0.99, 0.99)),
        _of_pairs([draw(one.scene, width, height) for one in two], two, 0.99),
        _weights(count, lambda _, scenes: [draw(scene, width, height) for scene in scenes]),
        *_in_holes([draw(one.after, width, height) for one in holes], holes, (0.99, 0.99)),
        _with_poses([draw(one, width, height) for one in posed], figures, 0.95),
    ]


def measure_text_to_image(painter: Painter, count: int) -> list[Row]:
    """Colour, shape, background, weights of words and time."""

    def weighted(weight: float, scenes: list[Scene]) -> Sequence[Pixels]:
        return painter.paint(f"weight-{weight}", [plainest(scene).prompt for scene in scenes])

    asked, two = held_out(count), pairs(count)
    prompts = [one.prompt for one in asked]
    return [
        *_rows(painter.paint("shapes", prompts), asked, (0.95, 0.85, 0.95)),
        *_among(_rows(painter.paint("among-other-words", among_other_words(prompts)), asked, (0.9, 0.8, 0.9))),
        _of_pairs(painter.paint("pairs", [one.prompt for one in two]), two, 0.9),
        _weights(count, weighted),
        Row("a picture", painter.seconds(), 3, in_seconds=True),
    ]


def _among(rows: list[Row]) -> list[Row]:
    return [replace(row, what=f"{row.what}, among other words") for row in rows]


def measure_fill(painter: Painter, count: int) -> list[Row]:
    """What is in holes and around them, and time. The colour alone counts besides, as it is much of the way."""
    asked = with_holes(count)
    before = [draw(one.before, painter.width, painter.height) for one in asked]
    masks = [one.mask(painter.width, painter.height) for one in asked]
    prompts = [plainest(one.told.scene).plain for one in asked]
    pictures = [Image.fromarray(pixels) for pixels in before]

    def whole(what: str, told: Sequence[str]) -> list[Pixels]:
        made = painter.paint(what, told, image=pictures, mask=[Image.fromarray(mask) for mask in masks])
        return [_finished(new, old, mask) for new, old, mask in zip(made, pictures, masks, strict=True)]

    made = whole("holes", prompts)
    kept = [np.array_equal(new[mask == 0], old[mask == 0]) for new, old, mask in zip(made, before, masks, strict=True)]
    return [
        *_in_holes(made, asked, (0.95, 0.85)),
        *_among(_in_holes(whole("holes-among-other-words", among_other_words(prompts)), asked, (0.9, 0.8))),
        Row("what is not in the hole stays, bit for bit", float(np.mean(kept)), 1.0),
        Row("a picture", painter.seconds(image=pictures[0], mask=Image.fromarray(masks[0])), 3, in_seconds=True),
    ]


def _in_holes(made: Sequence[Pixels], asked: Sequence[Holed], bars: tuple[float, float]) -> list[Row]:
    coloured, right = [], []
    for picture, one in zip(made, asked, strict=True):
        height, width = picture.shape[:2]
        seen, thing = look(picture, one.mask(width, height) > 0), one.told.scene.things[0]
        coloured.append(seen.colour == thing.colour)
        right.append((seen.kind, seen.colour) == (thing.kind, thing.colour))
    return [
        Row("colour in the hole", float(np.mean(coloured)), bars[0]),
        Row("the named thing is in the hole", float(np.mean(right)), bars[1]),
    ]


def _finished(painted: Pixels, picture: Image.Image, mask: Pixels) -> Pixels:
    """As the service answers it."""
    canvas = canvas_of(picture, Image.fromarray(mask), *picture.size, 16)
    return np.asarray(canvas.finish(Image.fromarray(painted)))


def measure_pose(painter: Painter, count: int) -> list[Row]:
    """How far people stand as their skeletons say, and time."""
    scenes = people(count)
    size = painter.width, painter.height
    figures = [placed_figure(one.things[0], *size) for one in scenes]
    skeletons = [Image.fromarray(draw_skeleton([figure], *size)) for figure in figures]
    made = painter.paint("people", [plainest(one).plain for one in scenes], skeleton=skeletons)
    return [
        _with_poses(made, figures, 0.5),
        Row("a picture", painter.seconds(skeleton=skeletons[0]), 3, in_seconds=True),
    ]


def _with_poses(made: Sequence[Pixels], figures: Sequence[Person], bar: float) -> Row:
    overlaps = [
        overlap(thing_mask(picture), body(figure, picture.shape[1], picture.shape[0]))
        for picture, figure in zip(made, figures, strict=True)
    ]
    return Row("mean overlap with the pose", float(np.mean(overlaps)), bar)


MEASURES: dict[str, Callable[[Painter, int], list[Row]]] = {
    "sdxl": measure_text_to_image,
    "flux-schnell": measure_text_to_image,
    "flux-fill": measure_fill,
    "sdxl-pose": measure_pose,
}


def _rows(made: Sequence[Pixels], asked: Sequence[Caption], bars: tuple[float, float, float]) -> list[Row]:
    seen = [look(picture) for picture in made]
    scenes = [one.scene for one in asked]
    pairs = list(zip(seen, scenes, strict=True))
    return [
        Row("colour of the shape", float(np.mean([of.colour == one.things[0].colour for of, one in pairs])), bars[0]),
        Row("shape", float(np.mean([of.kind == one.things[0].kind for of, one in pairs])), bars[1]),
        Row("background", float(np.mean([of.background == one.background for of, one in pairs])), bars[2]),
    ]


def _of_pairs(made: Sequence[Pixels], asked: Sequence[Caption], bar: float) -> Row:
    """Of pictures with the colours of both things in their halves."""
    right = [
        all(look(picture, half(thing.place, *picture.shape[:2])).colour == thing.colour for thing in one.scene.things)
        for picture, one in zip(made, asked, strict=True)
    ]
    return Row("both colours of two things", float(np.mean(right)), bar)


def _weights(count: int, paint: Callable[[float, list[Scene]], Sequence[Pixels]]) -> Row:
    """Of pictures in which a heavier word for a colour made it stronger than a lighter one did."""
    asked = with_filled_middles(count)
    strengths = []
    for weight in (1.5, 0.5):
        scenes = [replace(one, things=(replace(one.things[0], strength=weight),)) for one in asked]
        made = paint(weight, scenes)
        strengths.append([strength_of(picture, of.things[0].colour) for picture, of in zip(made, asked, strict=True)])
    moved = [strong > weak for strong, weak in zip(*strengths, strict=True)]
    return Row("a word's weight moves its colour", float(np.mean(moved)), 0.9)


if __name__ == "__main__":
    sys.exit(main())
