"""Pictures with a hole, and what belongs there: what Fill is trained on.

The named thing fills the hole, or nothing but background does; what else there is lies outside. Holes are rectangles
and ellipses, and sometimes the whole picture.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from training.captions import BACKGROUND, Caption, Word, caption
from training.data import encoded, kept, trained_vae
from training.vae import to_noise_scale
from training.world import BESIDE_RADIUS, PERSON, PLACES, Scene, Thing, draw, is_held_out, random_scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.flux import Batch

SEED = 5
COUNTS = {128: 2500, 256: 800}
BATCHES = {128: 16, 256: 6}
EMPTIED = 0.12  # the share of holes that only background fills
WHOLE = 0.08  # the share of holes that are the whole picture


@dataclass(frozen=True, slots=True)
class Holed:
    """A picture that is to come out, and what is given of it."""

    told: Caption
    before: Scene  # what the picture with the hole shows around it
    after: Scene
    hole: tuple[float, float, float, float]  # left, top, right and bottom, in shares
    is_round: bool

    def mask(self, size: int) -> NDArray[np.uint8]:
        """255 in the hole, of shape (size, size)."""
        canvas = Image.new("L", (size, size))
        left, top, right, bottom = (round(side * size) for side in self.hole)
        brush = ImageDraw.Draw(canvas)
        (brush.ellipse if self.is_round else brush.rectangle)((left, top, right - 1, bottom - 1), fill=255)
        return np.asarray(canvas)


def holed(count: int, seed: int) -> list[Holed]:
    """So many to train on."""
    chance = random.Random(seed)
    found: list[Holed] = []
    while len(found) < count:
        one = random_holed(chance)
        if not is_held_out(one.told.scene):
            found.append(one)
    return found


def random_holed(chance: random.Random) -> Holed:
    """Any, with what is told of what belongs into its hole."""
    scene = random_scene(chance, people=0.15, pairs=0)
    if chance.random() < WHOLE:
        return Holed(caption(scene, chance), Scene(things=(), background=scene.background), scene, (0, 0, 1, 1), False)
    thing = replace(scene.things[0], place="middle", size="")
    is_round = chance.random() < 0.2 and thing.kind != PERSON
    width = chance.uniform(0.4, 0.75)
    height = min(0.9, max(0.35, width * chance.uniform(0.8, 1.25)))
    left, top = chance.uniform(0, 1 - width), chance.uniform(0, 1 - height)
    radius = min(width, height) / 2 * chance.uniform(0.8, 0.95) * (0.75 if is_round else 1)
    thing = replace(thing, centre=(left + width / 2, top + height / 2), radius=radius)
    hole = (left, top, left + width, top + height)
    around = Scene(things=_outside(hole, scene.background, chance), background=scene.background)
    told = caption(replace(scene, things=(thing,)), chance)
    if chance.random() < EMPTIED:
        words = chance.choice([f"{scene.background} background", "background", f"a {scene.background} background"])
        return Holed(replace(told, words=(Word(words, BACKGROUND),)), around, around, hole, is_round)
    return Holed(told, around, replace(around, things=(*around.things, thing)), hole, is_round)


def _outside(hole: tuple[float, float, float, float], background: str, chance: random.Random) -> tuple[Thing, ...]:
    """Another thing beside the hole, where there is room and chance has it."""
    other = random_scene(chance, people=0, pairs=0).things[0]
    left, top, right, bottom = hole
    radius = BESIDE_RADIUS * 0.8
    free = [
        (x, y)
        for x, y in PLACES.values()
        if x + radius < left or x - radius > right or y + radius < top or y - radius > bottom
    ]
    if not free or other.colour == background or chance.random() < 0.5:
        return ()
    return (replace(other, centre=chance.choice(free), radius=radius),)


class HoledBatches:
    """Latents with what Fill is given of them, of both sizes, in random order."""

    def __init__(self, large: float) -> None:
        self._large = large
        vae = trained_vae(16)
        self._all = {size: holed(count, SEED + size) for size, count in COUNTS.items()}
        self._latents, self._given, self._masks = {}, {}, {}
        for size, of in self._all.items():

            def pictures(is_given: bool, of: list[Holed] = of, size: int = size) -> Tensor:
                made = []
                for start in range(0, len(of), 32):
                    chunk = of[start : start + 32]
                    pixels = np.stack([draw(one.after, size, size) for one in chunk]).astype(np.float32)
                    if is_given:  # as the pipeline blanks the hole: to the middle of its range
                        pixels[np.stack([one.mask(size) for one in chunk]) > 0] = 127.5
                    made.append(to_noise_scale(encoded(vae, pixels), vae.config))
                return torch.cat(made)

            self._latents[size] = kept(f"holed-{size}", lambda: pictures(False), len(of))
            self._given[size] = kept(f"given-{size}", lambda: pictures(True), len(of))
            self._masks[size] = torch.from_numpy(np.stack([one.mask(size) for one in of]) > 0)

    def draw(self) -> Batch:
        from training.flux import pack

        size = 256 if torch.rand(()) < self._large else 128
        rows = torch.randint(0, COUNTS[size], (BATCHES[size],))
        told = [self._all[size][row].told for row in rows.tolist()]
        given = torch.cat([pack(self._given[size][rows]), pack(mask_channels(self._masks[size][rows]))], dim=2)
        return self._latents[size][rows], [one.prompt for one in told], [one.plain for one in told], given


def mask_channels(masks: Tensor) -> Tensor:
    """The 8×8 pixels of each latent as its channels, as the pipeline has them, of masks of shape (rows, h, w)."""
    rows, height, width = masks.shape
    cells = masks.float().view(rows, height // 8, 8, width // 8, 8).permute(0, 2, 4, 1, 3)
    return cells.reshape(rows, 64, height // 8, width // 8)
