"""Pictures with a hole, and what belongs there: what Fill is trained on.

The named thing fills the hole, or nothing but background does; what else there is lies outside, and sometimes it is
nothing of the world, as in a caller's photo. Holes are rectangles and ellipses, and sometimes the whole picture.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import methodcaller
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FluxFillPipeline
from PIL import Image, ImageDraw
from torch import Tensor

from training.batches import Batch
from training.captions import BACKGROUND, Caption, Word, caption
from training.data import BESIDE_THINGS, kept_latents, trained_vae
from training.sizes import PICTURE_SIZES, Size, any_size
from training.vae import patches
from training.world import BESIDE_RADIUS, PERSON, Scene, Thing, draw, is_held_out, random_scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 5
TOKEN = 16  # pixels across one
COUNT = 5000  # pictures of the smallest size
BLANK = 127.5  # the hole in what is given, as the pipeline has it: the middle of its range
WHOLE = 0.08  # the share of holes that are the whole picture
LEAST_STRIP = 0.2  # beside a hole, of a side, for another thing
EMPTIED = 0.12  # of the others, the share that only background fills
STRANGE = 0.2  # of those that a thing fills on a background that is told, the share with nothing of the world around


@dataclass(frozen=True, slots=True)
class Holed:
    """A picture that is to come out, and what is given of it."""

    told: Caption
    before: Scene  # what the picture with the hole shows around it
    after: Scene
    hole: tuple[float, float, float, float]  # left, top, right and bottom, in shares
    is_round: bool
    strange: int | None = None  # the seed of what is around the hole instead

    def mask(self, width: int, height: int) -> NDArray[np.uint8]:
        """255 in the hole, of shape (height, width)."""
        canvas = Image.new("L", (width, height))
        sides = (width, height, width, height)
        left, top, right, bottom = (round(share * side) for share, side in zip(self.hole, sides, strict=True))
        brush = ImageDraw.Draw(canvas)
        (brush.ellipse if self.is_round else brush.rectangle)((left, top, right - 1, bottom - 1), fill=255)
        return np.asarray(canvas)

    def picture(self, width: int, height: int, *, is_given: bool) -> NDArray[np.float32]:
        """What is to come out, or what is given of it; RGB 0 … 255 of shape (height, width, 3)."""
        inside = (self.mask(width, height) > 0)[:, :, None]
        picture = draw(self.after, width, height).astype(np.float32)
        if self.strange is not None:
            picture = np.where(inside, picture, patches(random.Random(self.strange), width, height))
        return np.where(inside, np.float32(BLANK), picture) if is_given else picture


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
    width = chance.uniform(0.5, 0.85)
    height = min(0.9, max(0.45, width * chance.uniform(0.8, 1.25)))
    left, top = chance.uniform(0, 1 - width), chance.uniform(0, 1 - height)
    radius = min(width, height) / 2 * chance.uniform(0.8, 0.95) * (0.75 if is_round else 1)
    thing = replace(thing, centre=(left + width / 2, top + height / 2), radius=radius)
    hole = (left, top, left + width, top + height)
    around = Scene(things=_outside(hole, scene.background, chance), background=scene.background)
    told = caption(replace(scene, things=(thing,)), chance)
    if chance.random() < EMPTIED:
        words = chance.choice([f"{scene.background} background", "background", f"a {scene.background} background"])
        return Holed(replace(told, words=(Word(words, BACKGROUND),)), around, around, hole, is_round)
    strange = chance.randrange(2**32) if told.tells_background and chance.random() < STRANGE else None
    return Holed(told, around, replace(around, things=(*around.things, thing)), hole, is_round, strange)


def _outside(hole: tuple[float, float, float, float], background: str, chance: random.Random) -> tuple[Thing, ...]:
    """Another thing beside the hole, where there is room and chance has it: in the widest strip that is free."""
    other = random_scene(chance, people=0, pairs=0).things[0]
    left, top, right, bottom = hole
    along = chance.uniform(0.2, 0.8)
    width, middle = max(
        (left, (left / 2, along)),
        (1 - right, ((1 + right) / 2, along)),
        (top, (along, top / 2)),
        (1 - bottom, (along, (1 + bottom) / 2)),
    )
    beside = replace(other, centre=middle, radius=min(BESIDE_RADIUS, 0.45 * width))
    is_unfit = other.colour == background or is_held_out(Scene(things=(beside,), background=background))
    return () if width < LEAST_STRIP or is_unfit or chance.random() < 0.4 else (beside,)


class HoledBatches:
    """Latents with what Fill is given of them, of all sizes, in random order."""

    def __init__(self, large: float) -> None:
        self._large = large
        vae = trained_vae(16)
        self._all = {size: holed(round(COUNT * size.share), SEED + index) for index, size in enumerate(PICTURE_SIZES)}
        self._latents: dict[Size, Tensor] = {}
        self._given: dict[Size, Tensor] = {}
        self._masks: dict[Size, Tensor] = {}
        for size, of in self._all.items():
            for found, is_given in ((self._latents, False), (self._given, True)):
                drawn = methodcaller("picture", size.width, size.height, is_given=is_given)
                found[size] = kept_latents(f"{'given' if is_given else 'holed'}-{size}", of, drawn, vae)
            self._masks[size] = torch.from_numpy(np.stack([one.mask(size.width, size.height) for one in of]) > 0)

    def draw(self) -> Batch:
        size = any_size(self._large)
        rows = torch.randint(0, len(self._all[size]), (size.batch,))
        of = [self._all[size][row] for row in rows.tolist()]
        moves = [any_move(one, size) for one in of]
        masks = moved(self._masks[size][rows], moves, TOKEN)
        given = moved(self._given[size][rows], moves, TOKEN // 8)
        loss_weights = torch.where(F.max_pool2d(masks[:, None].float(), 8) > 0, 1.0, BESIDE_THINGS)
        clean = moved(self._latents[size][rows], moves, TOKEN // 8)
        told = [one.told for one in of]
        return Batch(size, told, clean, loss_weights, torch.cat([pack(given), pack(mask_channels(masks))], dim=2))


def any_move(of: Holed, size: Size) -> tuple[int, int]:
    """Any move, in tokens down and to the right, that leaves the hole in the picture."""
    left, top, right, bottom = of.hole

    def move(low: float, high: float, side: int) -> int:
        """Of what begins and ends at these shares of a side."""
        before, behind = int(low * side / TOKEN), int((1 - high) * side / TOKEN)
        return int(torch.randint(-before, behind + 1, ()))

    return move(top, bottom, size.height), move(left, right, size.width)


def moved(maps: Tensor, moves: Sequence[tuple[int, int]], token: int) -> Tensor:
    """Maps of shape (rows, …, height, width), each moved; what leaves at one side comes in at the other. So few kept
    pictures have holes everywhere."""
    shifted = [
        one.roll((down * token, right * token), (-2, -1)) for one, (down, right) in zip(maps, moves, strict=True)
    ]
    return torch.stack(shifted)


def pack(of: Tensor) -> Tensor:
    """Maps of shape (rows, channels, height, width) as tokens of 2×2 places, as pipelines pack them."""
    packed: Tensor = FluxFillPipeline._pack_latents(of, *of.shape)
    return packed


def mask_channels(masks: Tensor) -> Tensor:
    """The 8×8 pixels of each latent as its channels, as the pipeline has them, of masks of shape (rows, h, w)."""
    rows, height, width = masks.shape
    cells = masks.float().view(rows, height // 8, 8, width // 8, 8).permute(0, 2, 4, 1, 3)
    return cells.reshape(rows, 64, height // 8, width // 8)
