"""Measures whether the small models draw what they are asked for: `python -m training.evaluate [MODEL ...]`.

Pictures are made as the service makes them, by its own models in its engine, and measured from their pixels, see
training.measure. What is asked for was not trained on: combinations of shape, colour and background that were held out,
holes and poses of other seeds. Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from config.schema import Preset
from deployments.imaging.canvas import canvas_of
from deployments.models.small import FOLDER
from deployments.pose.skeleton import draw as draw_skeleton
from training.captions import Caption, caption, plainest
from training.figures import clothes, head
from training.holes import Holed, random_holed
from training.measure import background_of, colour_in, look, overlap, thing_mask
from training.painter import Painter, preset_of
from training.world import COLOURS, GREY, PERSON, Scene, Thing, draw, is_held_out, placed_figure, random_scene

if TYPE_CHECKING:
    from training.measure import Pixels

SEED = 1_000_000  # of what is asked for; training knows only small ones
Row = tuple[str, float, float]  # what was measured, how much of it was right, and the bar


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
    missed = False
    for row in measure_itself(options.count):
        missed |= _tell("drawn scenes", row)
    for name in options.models or MEASURES:
        painter = Painter(name, options.weights, options.size, _preset(name, options), options.pictures)
        try:
            for row in MEASURES[name](painter, options.count):
                missed |= _tell(name, row)
        finally:
            painter.close()
    return int(missed)


def _size(told: str) -> tuple[int, int]:
    width, height = map(int, told.split("x"))
    return width, height


def _preset(name: str, options: argparse.Namespace) -> Preset:
    told = {"steps": options.steps, "guidance_scale": options.guidance}
    return preset_of(name).model_copy(update={field: value for field, value in told.items() if value is not None})


def _tell(name: str, row: Row) -> bool:
    """Prints a row, and returns whether its bar was missed."""
    what, value, bar = row
    is_time = what.startswith("seconds")
    missed = value > bar if is_time else value < bar
    shown = f"{value:.2f}, at most {bar:.0f}" if is_time else f"{value:.1%}, at least {bar:.0%}"
    print(f"{name}: {what}: {shown}{', MISSED' if missed else ''}", flush=True)
    return missed


def measure_itself(count: int) -> list[Row]:
    """On drawn scenes."""
    asked = _held_out(count)
    return _rows([draw(one.scene, 256, 256) for one in asked], asked, (0.99, 0.99, 0.99))


def measure_text_to_image(painter: Painter, count: int) -> list[Row]:
    asked = _held_out(count)
    made = painter.paint("shapes", [one.prompt for one in asked])
    rows = _rows(made, asked, (0.95, 0.85, 0.95))
    rows.append(("a word's weight moves its colour", _share_moved(painter, count // 2), 0.9))
    return [*rows, ("seconds for a picture", painter.seconds(), 3)]


def measure_fill(painter: Painter, count: int) -> list[Row]:
    chance = random.Random(SEED)
    asked: list[Holed] = []
    while len(asked) < count:
        one = random_holed(chance)
        is_shape = one.told.scene.things[0].kind != PERSON and len(one.after.things) > len(one.before.things)
        if is_held_out(one.told.scene) and is_shape and one.hole != (0, 0, 1, 1) and one.strange is None:
            asked.append(one)
    before = [draw(one.before, painter.width, painter.height) for one in asked]
    masks = [one.mask(painter.width, painter.height) for one in asked]
    prompts = [plainest(one.told.scene).plain for one in asked]
    pictures = [Image.fromarray(pixels) for pixels in before]
    made = painter.paint("holes", prompts, image=pictures, mask=[Image.fromarray(mask) for mask in masks])
    whole = [_finished(new, old, mask) for new, old, mask in zip(made, pictures, masks, strict=True)]
    kept = [np.array_equal(new[mask == 0], old[mask == 0]) for new, old, mask in zip(whole, before, masks, strict=True)]
    seen = [look(new, mask > 0) for new, mask in zip(whole, masks, strict=True)]
    things = [one.told.scene.things[0] for one in asked]
    right = [of.kind == thing.kind and of.colour == thing.colour for of, thing in zip(seen, things, strict=True)]
    coloured = [of.colour == thing.colour for of, thing in zip(seen, things, strict=True)]
    one_hole = {"image": pictures[0], "mask": Image.fromarray(masks[0])}
    return [
        ("the named colour is in the hole", float(np.mean(coloured)), 0.85),
        ("the named thing is in the hole", float(np.mean(right)), 0.85),
        ("what is not in the hole stays, bit for bit", float(np.mean(kept)), 1.0),
        ("seconds for a picture", painter.seconds(**one_hole), 3),
    ]


def _finished(painted: Pixels, picture: Image.Image, mask: Pixels) -> Pixels:
    """As the service answers it."""
    canvas = canvas_of(picture, Image.fromarray(mask), *picture.size, 16)
    return np.asarray(canvas.finish(Image.fromarray(painted)))


def measure_pose(painter: Painter, count: int) -> list[Row]:
    chance = random.Random(SEED)
    scenes = [random_scene(chance, people=1.0, pairs=0.0) for _ in range(count // 2)]
    scenes = [replace(one, things=(replace(one.things[0], strength=1.0),)) for one in scenes]
    size = painter.width, painter.height
    figures = [placed_figure(one.things[0], *size) for one in scenes]
    skeletons = [Image.fromarray(draw_skeleton([figure], *size)) for figure in figures]
    made = painter.paint("people", [plainest(one).plain for one in scenes], skeleton=skeletons)
    overlaps = []
    for picture, figure in zip(made, figures, strict=True):
        body = np.maximum(clothes(figure, *size), head(figure, *size)) > 0.5
        overlaps.append(overlap(thing_mask(picture, background_of(picture)), body))
    return [
        ("mean overlap with the pose", float(np.mean(overlaps)), 0.5),
        ("seconds for a picture", painter.seconds(skeleton=skeletons[0]), 3),
    ]


MEASURES: dict[str, Callable[[Painter, int], list[Row]]] = {
    "sdxl": measure_text_to_image,
    "flux-schnell": measure_text_to_image,
    "flux-fill": measure_fill,
    "sdxl-pose": measure_pose,
}


def _held_out(count: int) -> list[Caption]:
    """Of single shapes, all of them told."""
    chance = random.Random(SEED)
    asked: list[Caption] = []
    while len(asked) < count:
        scene = random_scene(chance, people=0.0, pairs=0.0)
        told = caption(scene, chance)
        if is_held_out(scene) and scene.things[0].strength == 1 and told.tells_all:
            asked.append(told)
    return asked


def _rows(made: Sequence[Pixels], asked: Sequence[Caption], bars: tuple[float, float, float]) -> list[Row]:
    seen = [look(picture) for picture in made]
    scenes = [one.scene for one in asked]
    pairs = list(zip(seen, scenes, strict=True))
    return [
        ("colour of the shape", float(np.mean([of.colour == one.things[0].colour for of, one in pairs])), bars[0]),
        ("shape", float(np.mean([of.kind == one.things[0].kind for of, one in pairs])), bars[1]),
        ("background", float(np.mean([of.background == one.background for of, one in pairs])), bars[2]),
    ]


def _share_moved(painter: Painter, count: int) -> float:
    """Of pictures in which a heavier word for a colour made it stronger than a lighter one."""
    chance = random.Random(SEED)
    asked = []
    for _ in range(count):
        background, colour = chance.sample(list(COLOURS), 2)
        asked.append((background, colour, chance.choice(["circle", "square", "heart"])))
    strengths = []
    for weight in (1.5, 0.5):
        scenes = [
            Scene(things=(Thing(kind=kind, colour=colour, strength=weight),), background=background)
            for background, colour, kind in asked
        ]
        made = painter.paint(f"weight-{weight}", [plainest(scene).prompt for scene in scenes])
        strengths.append([_strength(picture, colour) for picture, (_, colour, _) in zip(made, asked, strict=True)])
    return float(np.mean([strong > weak for strong, weak in zip(*strengths, strict=True)]))


def _strength(picture: Pixels, colour: str) -> float:
    """How far the thing in the middle is from grey in the direction of that colour; about 1 for the colour itself."""
    height, width = picture.shape[:2]
    middle = np.zeros((height, width), bool)
    middle[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = True
    direction = np.array(COLOURS[colour]) - GREY
    return float((colour_in(picture, middle) - GREY) @ direction / (direction @ direction))


if __name__ == "__main__":
    sys.exit(main())
