"""Trains SDXL's pose ControlNet on figures of the world: `python -m training.pose`.

It begins as a copy of the UNet's first half, with layers that give nothing at first, and the UNet stays as it is. The
pictures it reads are the service's own skeletons.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import torch
from diffusers import ControlNetModel
from numpy.typing import NDArray
from torch import Tensor

from deployments.pose.skeleton import draw as draw_skeleton
from deployments.types import Person
from training.architectures import CONDITIONING_CHANNELS, unet
from training.data import SdxlText, captions, latents, trained_vae
from training.runs import Run, denoiser_options, load_trained
from training.sdxl import Noise, conditions
from training.world import placed_figure

SEEDS = {128: 3, 256: 4}
COUNTS = {128: 2500, 256: 1000}
BATCHES = {128: 16, 256: 6}


def main() -> None:
    options = denoiser_options("python -m training.pose", __doc__, steps=3000, large=0.5).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    fixed = unet().to(memory_format=torch.channels_last)
    load_trained(fixed, "sdxl", "unet")
    model = ControlNetModel.from_unet(fixed, conditioning_embedding_out_channels=CONDITIONING_CHANNELS)
    model = model.to(memory_format=torch.channels_last)
    fixed.eval().requires_grad_(False)
    run = Run("sdxl-pose", {"controlnet": model}, options.steps, options.rate)
    noise = Noise()
    batches = Batches(options.large)

    def loss() -> Tensor:
        clean, skeletons, embeddings, pooled, sizes = batches.draw()
        noisy, steps, velocity = noise.add(clean)
        given = {
            "encoder_hidden_states": embeddings,
            "added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes},
        }
        down, middle = model(noisy, steps, controlnet_cond=skeletons, return_dict=False, **given)
        output = fixed(
            noisy,
            steps,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            **given,
        ).sample
        return noise.loss(output, velocity, steps)

    run.train(loss)


class Batches:
    """Captioned latents of figures, with their skeletons, of both sizes."""

    def __init__(self, large: float) -> None:
        self._large = large
        vae = trained_vae(4)
        self._text = SdxlText()
        self._chance = random.Random(0)
        self._captions = {size: captions(count, SEEDS[size], people=1.0, pairs=0.0) for size, count in COUNTS.items()}
        self._latents = {size: latents("people", told, vae, size) for size, told in self._captions.items()}

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Latents, skeletons on [0, 1], and what `conditions` gives."""
        size = 256 if torch.rand(()) < self._large else 128
        rows = torch.randint(0, COUNTS[size], (BATCHES[size],))
        told = [self._captions[size][row] for row in rows.tolist()]
        drawn = [self._skeleton(placed_figure(one.scene.things[0], size, size), size) for one in told]
        skeletons = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255
        clean = self._latents[size][rows].contiguous(memory_format=torch.channels_last)
        return clean, skeletons, *conditions(self._text, [one.prompt for one in told], size)

    def _skeleton(self, figure: Person, size: int) -> NDArray[np.uint8]:
        """Sometimes without eyes and ears, as joints drawn by hand often are."""
        if self._chance.random() < 0.3:
            figure = replace(figure, body=(*figure.body[:14], None, None, None, None))
        return draw_skeleton([figure], size, size)


if __name__ == "__main__":
    main()
