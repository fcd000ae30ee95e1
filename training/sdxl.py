"""Trains SDXL's UNet on the world: `python -m training.sdxl`.

Velocities, on a noise schedule that ends in nothing but noise. Half of all steps are at its noisy end, where the words
are all there is to go by: elsewhere a denoiser gets by without them, and learns them late.
"""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from training.architectures import sdxl_scheduler, unet
from training.batches import Batch, Captioned
from training.data import SdxlText
from training.runs import Run, denoiser_options

COUNT = 9000  # pictures of the smallest size
FEW_TOKENS = 40  # more than a caption has; those behind it are padding, and dear
EMPTY = 0.06  # the share of captions left out, which guidance needs
NOISY = 0.4  # the share of steps drawn from the noisiest fifth alone


def main() -> None:
    options = denoiser_options("python -m training.sdxl", __doc__, steps=20500).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = unet().to(memory_format=torch.channels_last)
    run = Run("sdxl", {"unet": model}, options.steps, options.rate)
    noise = Noise()
    batches = Captioned(4, options.large, name="all", count=COUNT, seed=1)
    text = SdxlText()

    def loss() -> Tensor:
        batch = batches.draw()
        embeddings, pooled, time_ids = conditions(text, batch)
        noisy, steps, velocity = noise.add(batch.clean)
        output = model(
            noisy,
            steps,
            encoder_hidden_states=embeddings,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids},
        ).sample
        return noise.loss(output, velocity, steps, batch.loss_weights)

    run.train(loss)


class Noise:
    """The noise schedule that the pipeline's scheduler has."""

    def __init__(self) -> None:
        self._scheduler = DDPMScheduler.from_config(sdxl_scheduler().config)

    def add(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, the step of each row, and the velocity that is to be found."""
        clean = clean.contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        count = len(clean)
        steps = torch.randint(0, 1000, (count,))
        steps = torch.where(torch.rand(count) < NOISY, torch.randint(800, 1000, (count,)), steps)
        noise = torch.randn_like(clean)
        return (
            self._scheduler.add_noise(clean, noise, steps),
            steps,
            self._scheduler.get_velocity(clean, noise, steps),
        )

    def loss(self, output: Tensor, velocity: Tensor, steps: Tensor, loss_weights: Tensor) -> Tensor:
        """Mean squared error, of less weight where there is little noise: there it is large and tells of noise.
        `loss_weights` is what `importance` gives."""
        weights = loss_weights * (1 - self._scheduler.alphas_cumprod[steps]).sqrt()[:, None, None, None]
        loss: Tensor = (weights * (output - velocity).square()).mean()
        return loss


def conditions(text: SdxlText, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings and pooled embeddings, of some prompts none; and what SDXL is told of the size."""
    embeddings, pooled = text.encode(batch.prompts, FEW_TOKENS if torch.rand(()) < 0.85 else 77)
    told = (torch.rand(len(batch.told)) >= EMPTY).float()
    height, width = batch.size.height, batch.size.width
    time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
    return embeddings * told[:, None, None], pooled * told[:, None], time_ids.expand(len(batch.told), -1)


if __name__ == "__main__":
    main()
