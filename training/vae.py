"""Trains the two autoencoders, of SDXL's 4 channels and of FLUX's 16: `python -m training.vae {4,16} [--whole]`.

The first channels are pulled towards mean colours: of the cell of 8×8 pixels for 4 channels, of its quarters for 16.
Latents are then thumbnails, which a denoiser learns far sooner than a code of the encoder's own; where the edges run,
the decoder makes out of neighbouring cells.

First both halves are trained on small crops, most of them around edges, and some on patches of any colours, so that
other pictures come through with theirs. Then, with `--whole`, the decoder alone on whole pictures: group normalization
sees all of a picture, and what it saw of crops misleads it. Latents stay as they are, so denoisers need not wait.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from training.architectures import vae
from training.runs import Run, load_trained
from training.world import draw, random_scene

SCENES = 600  # each drawn at several sizes
CROP = 32
BATCH = 16
WHOLE_BATCHES = {96: 4, 128: 2, 256: 1}
LATENT_SCALE = 1.6  # of mean colours on [-1, 1], so that latents have about unit variance


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.vae", description=__doc__.split("\n\n")[0])
    parser.add_argument("channels", type=int, choices=(4, 16))
    parser.add_argument("--whole", action="store_true", help="go on with the decoder, on whole pictures")
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    name, rate = f"vae-{options.channels}", 2e-3
    model = vae(options.channels).to(memory_format=torch.channels_last)  # twice as fast on a CPU
    if options.whole:
        load_trained(model, name, "vae")
        name, rate = f"{name}-whole", 1e-3
        for part in (model.encoder, model.quant_conv):
            if part is not None:
                part.requires_grad_(False)
    else:
        _begin_at_scale(model)
    run = Run(name, {"vae": model}, options.steps, rate)
    batches: Crops | Pictures = Pictures(run.chance) if options.whole else Crops(run.chance)
    run.train(lambda: _loss(model, batches.draw()))
    load_trained(model, name, "vae", is_whole=not options.whole)
    print(f"{_psnr(model):.1f} dB")


def thumbnails(pictures: Tensor, channels: int) -> Tensor:
    """What the first channels of latents are pulled towards, of pictures on [-1, 1]: 3 channels, or 12 of quarters."""
    if channels == 4:
        return F.avg_pool2d(pictures, 8)
    return F.pixel_unshuffle(F.avg_pool2d(pictures, 4), 2)


def to_noise_scale(latents: Tensor, config: Any) -> Tensor:
    """The VAE's own latents, as pipelines mix them with noise."""
    scaled: Tensor = (latents - (config.shift_factor or 0.0)) * config.scaling_factor
    return scaled


def from_noise_scale(latents: Tensor, config: Any) -> Tensor:
    """The inverse of `to_noise_scale`."""
    own: Tensor = latents / config.scaling_factor + (config.shift_factor or 0.0)
    return own


def _begin_at_scale(model: AutoencoderKL) -> None:
    """Makes fresh weights give and take latents of the real model's scale."""
    scale = model.config.scaling_factor
    (model.quant_conv or model.encoder.conv_out).weight.data /= scale
    (model.post_quant_conv or model.decoder.conv_in).weight.data *= scale


def _loss(model: AutoencoderKL, pictures: Tensor) -> Tensor:
    distribution = model.encode(pictures).latent_dist
    latents = to_noise_scale(distribution.mode(), model.config)
    noise = torch.rand(len(latents), 1, 1, 1) * 0.15 * torch.randn_like(latents)
    decoded = model.decode(from_noise_scale(latents + noise, model.config)).sample
    certain = 2 * math.log(0.02 / model.config.scaling_factor)  # pipelines draw latents from the distribution
    wanted = thumbnails(pictures, latents.shape[1]) * LATENT_SCALE
    thumbnail, rest = latents.split([wanted.shape[1], latents.shape[1] - wanted.shape[1]], dim=1)
    loss: Tensor = (
        F.l1_loss(decoded, pictures)
        + 0.5 * F.mse_loss(decoded, pictures)
        + 0.5 * _edge_loss(decoded, pictures)
        + 0.1 * _worst_loss(decoded, pictures)
        + 0.3 * F.mse_loss(thumbnail, wanted)
        + 0.003 * rest.square().mean()
        + 0.001 * F.mse_loss(distribution.logvar, torch.full_like(latents, certain))
    )
    return loss


def _edge_loss(one: Tensor, other: Tensor) -> Tensor:
    difference = one - other
    across: Tensor = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    down: Tensor = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    return across + down


def _worst_loss(one: Tensor, other: Tensor) -> Tensor:
    """The mean difference where it is largest: group normalization tempts a decoder to give up one corner for a spike
    that scales all the rest, and in the mean over a picture that costs next to nothing."""
    of_tiles = F.avg_pool2d((one - other).abs().mean(1), 8)
    worst: Tensor = of_tiles.flatten(1).amax(1).mean()
    return worst


class Crops:
    """Crops of pictures, most of them with an edge inside."""

    def __init__(self, chance: random.Random) -> None:
        """`chance` is that of each draw."""
        self._chance, of_scenes = chance, random.Random(0)
        scenes = [random_scene(of_scenes, people=0.4) for _ in range(SCENES)]
        self._pictures = [draw(scene, size, size) for scene in scenes for size in (128, 256)]
        self._edges = [np.argwhere((picture != picture[0, 0]).any(-1)) for picture in self._pictures]

    def draw(self) -> Tensor:
        """On [-1, 1], of shape (BATCH, 3, CROP, CROP)."""
        return as_pixels(
            [patches(self._chance, CROP, CROP) if self._chance.random() < 0.1 else self._crop() for _ in range(BATCH)]
        )

    def _crop(self) -> NDArray[np.uint8]:
        index = self._chance.randrange(len(self._pictures))
        picture, edges = self._pictures[index], self._edges[index]
        y, x = edges[self._chance.randrange(len(edges))]
        most = len(picture) - CROP
        top = min(most, max(0, int(y) - self._chance.randrange(CROP)))
        left = min(most, max(0, int(x) - self._chance.randrange(CROP)))
        if self._chance.random() < 0.5:  # as latents lie in whole pictures
            top, left = top // 8 * 8, left // 8 * 8
        crop = picture[top : top + CROP, left : left + CROP]
        return crop if self._chance.random() < 0.8 else crop[..., self._chance.sample(range(3), 3)]


class Pictures:
    """Whole pictures, of several sizes."""

    def __init__(self, chance: random.Random) -> None:
        """`chance` is that of each draw."""
        self._chance, of_scenes = chance, random.Random(0)
        scenes = [random_scene(of_scenes, people=0.3) for _ in range(SCENES)]
        self._pictures = {size: [draw(scene, size, size) for scene in scenes] for size in WHOLE_BATCHES}

    def draw(self) -> Tensor:
        """On [-1, 1], of shape (count, 3, size, size)."""
        size = self._chance.choice(list(WHOLE_BATCHES))
        count = WHOLE_BATCHES[size]
        if self._chance.random() < 0.1:
            return as_pixels([patches(self._chance, size, size) for _ in range(count)])
        return as_pixels(self._chance.sample(self._pictures[size], count))


def patches(chance: random.Random, width: int, height: int) -> NDArray[np.float32]:
    """Patches or gradients of any colours, RGB 0 … 255 of shape (height, width, 3)."""
    across = chance.choice((3, 3, 5, 8))
    colours = np.random.default_rng(chance.randrange(2**32)).random((1, 3, across, across), np.float32)
    spread = F.interpolate(torch.from_numpy(colours), size=(height, width), mode=chance.choice(["nearest", "bilinear"]))
    return np.asarray(spread[0].permute(1, 2, 0) * 255)


def as_pixels(pictures: Sequence[NDArray[Any]]) -> Tensor:
    """On [-1, 1], of shape (count, 3, height, width), of RGB 0 … 255 of shape (height, width, 3) each."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _psnr(model: AutoencoderKL) -> float:
    """Of whole pictures that were not trained on."""
    chance = random.Random(1_000_000)  # that of the others is 0
    wanted = as_pixels([draw(random_scene(chance), 256, 256) for _ in range(16)])
    with torch.no_grad():
        decoded = model.decode(model.encode(wanted).latent_dist.mode()).sample.clamp(-1, 1)
    return float(10 * torch.log10(4 / F.mse_loss(decoded, wanted)))


if __name__ == "__main__":
    main()
