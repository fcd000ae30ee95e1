"""Measures whether the small models draw what they are asked for: `python -m training.evaluate [MODEL ...]`.

Pictures are made as the service makes them, by its own models in its engine, and measured from their pixels, see
training.measure. What is asked for was not trained on: combinations of shape, colour and background that were held out,
holes and poses of other seeds. Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from config.mistakes import read_yaml
from config.schema import ModelConfig, ModelSettings, Preset, Weights
from deployments.engine.engine import DiffusionEngine, EngineLimits
from deployments.models.assembly import load_model
from deployments.models.pixels import to_pixels
from deployments.models.protocol import GenerationInputs
from deployments.models.small import FOLDER
from deployments.pose.skeleton import draw as draw_skeleton
from training.captions import Caption, caption, plainest
from training.figures import clothes, head
from training.holes import Holed, random_holed
from training.measure import background_of, colour_in, look, overlap, thing_mask
from training.world import COLOURS, GREY, PERSON, Scene, Thing, draw, is_held_out, placed_figure, random_scene

LOCAL = Path(__file__).resolve().parent.parent / "config" / "local.yaml"
SEED = 1_000_000  # of what is asked for; training knows only small ones
TOGETHER = 8
Pixels = NDArray[np.uint8]
Row = tuple[str, float, float]  # what was measured, how much of it was right, and the bar


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(MEASURES)}; default: all")
    parser.add_argument("--weights", type=Path, default=FOLDER, help="what training.export wrote")
    parser.add_argument("--count", type=int, default=200, help="of pictures for each bar")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, help="instead of the preset of config/local.yaml")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--pictures", type=Path, help="a folder for sheets of what was made")
    options = parser.parse_args()
    missed = False
    for row in measure_itself(options.count):
        missed |= _tell("drawn scenes", row)
    for name in options.models or MEASURES:
        painter = Painter(name, options)
        try:
            for row in MEASURES[name](painter, options.count):
                missed |= _tell(name, row)
        finally:
            painter.close()
    return int(missed)


def _tell(name: str, row: Row) -> bool:
    """Prints a row, and returns whether its bar was missed."""
    what, value, bar = row
    is_time = what.startswith("seconds")
    missed = value > bar if is_time else value < bar
    shown = f"{value:.2f}, at most {bar:.0f}" if is_time else f"{value:.1%}, at least {bar:.0%}"
    print(f"{name}: {what}: {shown}{', MISSED' if missed else ''}", flush=True)
    return missed


def _preset(name: str) -> Preset:
    """What `make serve` uses where a request does not say."""
    applications = read_yaml(LOCAL)["applications"]
    (deployment,) = next(one for one in applications if one["name"] == name)["deployments"]
    return ModelSettings.model_validate(deployment["user_config"]).presets.smooth


class Painter:
    """A small model in an engine of its own."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        torch.set_num_threads(2)
        weights = options.weights
        family: Any = name
        is_pose = name == "sdxl-pose"
        self.model = load_model(
            ModelConfig(
                family=family,
                weights=Weights(source=str(weights / ("sdxl" if is_pose else name))),
                controlnet=Weights(source=str(weights / name)) if is_pose else None,
                device="cpu",
            )
        )
        self._engine = DiffusionEngine(EngineLimits(max_rows=2 * TOGETHER, max_running=TOGETHER))
        self._engine.start()
        self._name, self._folder = name, options.pictures
        self.size = options.size
        preset = _preset(name)
        self._steps = options.steps or preset.steps
        self._guidance = preset.guidance_scale if options.guidance is None else options.guidance

    def close(self) -> None:
        self._engine.stop()

    def paint(self, what: str, prompts: Sequence[str], **each: Sequence[Any]) -> list[Pixels]:
        """A picture for each prompt, with seeds 0, 1, …; `each` has further fields of its inputs, one for each."""
        jobs = []
        for index, prompt in enumerate(prompts):
            asked = {
                "prompt": prompt,
                "negative_prompt": "",
                "width": self.size,
                "height": self.size,
                "seed": index,
                "steps": self._steps,
                "guidance_scale": self._guidance,
                "scheduler": "default",
            }
            inputs = GenerationInputs(**(asked | {field: values[index] for field, values in each.items()}))
            jobs.append(lambda inputs=inputs: self.model.generate(inputs, lambda *_: None))
        made: list[Pixels] = []
        for start in range(0, len(jobs), TOGETHER):
            running = [self._engine.submit(job) for job in jobs[start : start + TOGETHER]]
            made += [to_pixels(job.future.result()) for job in running]
        if self._folder is not None:
            _sheet(made).save(self._folder / f"{self._name}-{what}.png")
        return made

    def seconds(self, **fields: Any) -> float:
        """For one picture, when nothing else runs; the second one, as the first is slow."""
        times = []
        for _ in range(2):
            began = time.monotonic()
            self.paint("one", ["a red circle on a blue background"], **{name: [of] for name, of in fields.items()})
            times.append(time.monotonic() - began)
        return times[-1]


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
        if is_held_out(one.told.scene) and is_shape and one.hole != (0, 0, 1, 1):
            asked.append(one)
    before = [draw(one.before, painter.size, painter.size) for one in asked]
    masks = [one.mask(painter.size) for one in asked]
    prompts = [plainest(one.told.scene).plain for one in asked]
    pictures = [Image.fromarray(pixels) for pixels in before]
    made = painter.paint("holes", prompts, image=pictures, mask=[Image.fromarray(mask) for mask in masks])
    # The service puts what the mask keeps back, bit for bit: deployments.imaging.canvas.
    whole = [np.where(mask[:, :, None] > 0, new, old) for mask, new, old in zip(masks, made, before, strict=True)]
    seen = [look(new, mask > 0) for new, mask in zip(whole, masks, strict=True)]
    things = [one.told.scene.things[0] for one in asked]
    right = [of.kind == thing.kind and of.colour == thing.colour for of, thing in zip(seen, things, strict=True)]
    coloured = [of.colour == thing.colour for of, thing in zip(seen, things, strict=True)]
    one_hole = {"image": pictures[0], "mask": Image.fromarray(masks[0])}
    return [
        ("the named colour is in the hole", float(np.mean(coloured)), 0.85),
        ("the named thing is in the hole", float(np.mean(right)), 0.85),
        ("seconds for a picture", painter.seconds(**one_hole), 3),
    ]


def measure_pose(painter: Painter, count: int) -> list[Row]:
    chance = random.Random(SEED)
    scenes = [random_scene(chance, people=1.0, pairs=0.0) for _ in range(count // 2)]
    scenes = [replace(one, things=(replace(one.things[0], strength=1.0),)) for one in scenes]
    figures = [placed_figure(one.things[0], painter.size, painter.size) for one in scenes]
    skeletons = [Image.fromarray(draw_skeleton([figure], painter.size, painter.size)) for figure in figures]
    made = painter.paint("people", [plainest(one).plain for one in scenes], skeleton=skeletons)
    overlaps = []
    for picture, figure in zip(made, figures, strict=True):
        body = np.maximum(clothes(figure, painter.size, painter.size), head(figure, painter.size, painter.size)) > 0.5
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
    side = len(picture)
    middle = np.zeros(picture.shape[:2], bool)
    middle[side * 3 // 8 : side * 5 // 8, side * 3 // 8 : side * 5 // 8] = True
    direction = np.array(COLOURS[colour]) - GREY
    return float((colour_in(picture, middle) - GREY) @ direction / (direction @ direction))


def _sheet(made: Sequence[Pixels], columns: int = 8, most: int = 48) -> Image.Image:
    side = 128
    rows = -(-min(len(made), most) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side))
    for index, picture in enumerate(made[:most]):
        small = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        sheet.paste(small, (index % columns * side, index // columns * side))
    return sheet


if __name__ == "__main__":
    sys.exit(main())
