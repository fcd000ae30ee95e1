"""What denoisers are trained on: captioned latents of all sizes, in random order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.captions import Caption, captions
from training.data import importance, latents, likelihoods, trained_vae
from training.sizes import PICTURE_SIZES, Size, any_size


@dataclass(frozen=True, slots=True)
class Batch:
    """Of one step."""

    size: Size
    told: Sequence[Caption]
    clean: Tensor  # latents of shape (rows, channels, height / 8, width / 8)
    loss_weights: Tensor  # of each latent, of shape (rows, 1, height / 8, width / 8)
    given: Tensor | None = None  # Fill's further inputs, packed

    @property
    def prompts(self) -> list[str]:
        return [one.prompt for one in self.told]


class Captioned:
    """Scenes of the world for the denoiser of latents with so many channels."""

    def __init__(self, channels: int, large: float, *, name: str, count: int, seed: int, **shares: float) -> None:
        """`large` is that of `any_size`, `count` that of the smallest pictures, `shares` those of `random_scene`."""
        self._large = large
        vae = trained_vae(channels)
        self._captions = {
            size: captions(round(count * size.share), random.Random(seed + index), **shares)
            for index, size in enumerate(PICTURE_SIZES)
        }
        self._likelihoods = {size: likelihoods(told) for size, told in self._captions.items()}
        self._latents = {size: latents(f"{name}-{channels}", told, vae, size) for size, told in self._captions.items()}

    def draw(self) -> Batch:
        size = any_size(self._large)
        rows = torch.multinomial(self._likelihoods[size], size.batch, replacement=True)
        told = [self._captions[size][row] for row in rows.tolist()]
        return Batch(size, told, self._latents[size][rows], importance([one.scene for one in told], size))
