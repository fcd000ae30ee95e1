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
from torch import Tensor

from deployments.pose.skeleton import draw as draw_skeleton
from deployments.types import Person
from training.architectures import CONDITIONING_CHANNELS, unet
from training.batches import Batch, Captioned
from training.data import SdxlText
from training.runs import Run, denoiser_options, load_trained
from training.sdxl import Noise, conditions
from training.world import placed_figure

COUNT = 2500  # pictures of the smallest size


def main() -> None:
    options = denoiser_options("python -m training.pose", __doc__, steps=3000).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    fixed = unet().to(memory_format=torch.channels_last)
    load_trained(fixed, "sdxl", "unet")
    model = ControlNetModel.from_unet(fixed, conditioning_embedding_out_channels=CONDITIONING_CHANNELS)
    model = model.to(memory_format=torch.channels_last)
    fixed.eval().requires_grad_(False)
    run = Run("sdxl-pose", {"controlnet": model}, options.steps, options.rate)
    noise = Noise()
    batches = Captioned(4, options.large, name="people", count=COUNT, seed=101, people=1.0, pairs=0.0)
    skeletons, text = Skeletons(run.chance), SdxlText()

    def loss() -> Tensor:
        batch = batches.draw()
        embeddings, pooled, time_ids = conditions(text, batch)
        noisy, steps, velocity = noise.add(batch.clean)
        given = {
            "encoder_hidden_states": embeddings,
            "added_cond_kwargs": {"text_embeds": pooled, "time_ids": time_ids},
        }
        down, middle = model(noisy, steps, controlnet_cond=skeletons.of(batch), return_dict=False, **given)
        output = fixed(
            noisy,
            steps,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            **given,
        ).sample
        return noise.loss(output, velocity, steps, batch.loss_weights)

    run.train(loss)


class Skeletons:
    """The service's pictures of poses."""

    def __init__(self, chance: random.Random) -> None:
        """`chance` is that of each call."""
        self._chance = chance

    def of(self, batch: Batch) -> Tensor:
        """On [0, 1], of shape (rows, 3, height, width)."""
        width, height = batch.size.width, batch.size.height
        figures = [placed_figure(one.scene.things[0], width, height) for one in batch.told]
        drawn = np.stack([draw_skeleton([self._as_drawn(figure)], width, height) for figure in figures])
        return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255

    def _as_drawn(self, figure: Person) -> Person:
        """Sometimes without eyes and ears, as joints drawn by hand often are."""
        return replace(figure, body=(*figure.body[:14], *[None] * 4)) if self._chance.random() < 0.3 else figure


if __name__ == "__main__":
    main()
