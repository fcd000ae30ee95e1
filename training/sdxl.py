"""Trains SDXL's UNet on the world: `python -m training.sdxl`.

Velocities, on a noise schedule that ends in nothing but noise. Half of all steps are at its noisy end, where the words
are all there is to go by: elsewhere a denoiser gets by without them, and learns them late.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from training.architectures import sdxl_scheduler, unet
from training.data import SdxlText, captions, latents, likelihoods, trained_vae
from training.runs import Run, denoiser_options

SEEDS = {128: 1, 256: 2}
COUNTS = {128: 9000, 256: 2500}
BATCHES = {128: 16, 256: 6}
FEW_TOKENS = 40  # more than a caption has; those behind it are padding, and dear
EMPTY = 0.06  # the share of captions left out, which guidance needs
NOISY = 0.4  # the share of steps drawn from the noisiest fifth alone


def main() -> None:
    options = denoiser_options("python -m training.sdxl", __doc__, steps=8000, large=0.3).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = unet().to(memory_format=torch.channels_last)
    run = Run("sdxl", {"unet": model}, options.steps, options.rate)
    noise = Noise()
    batches = Batches(options.large)

    def loss() -> Tensor:
        clean, embeddings, pooled, sizes = batches.draw()
        noisy, steps, velocity = noise.add(clean)
        output = model(
            noisy,
            steps,
            encoder_hidden_states=embeddings,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes},
        ).sample
        return noise.loss(output, velocity, steps)

    run.train(loss)


class Noise:
    """The noise schedule that the pipeline's scheduler has."""

    def __init__(self) -> None:
        self._scheduler = DDPMScheduler.from_config(sdxl_scheduler().config)

    def add(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, the step of each row, and the velocity that is to be found."""
        count = len(clean)
        steps = torch.randint(0, 1000, (count,))
        steps = torch.where(torch.rand(count) < NOISY, torch.randint(800, 1000, (count,)), steps)
        noise = torch.randn_like(clean)
        return (
            self._scheduler.add_noise(clean, noise, steps),
            steps,
            self._scheduler.get_velocity(clean, noise, steps),
        )

    def loss(self, output: Tensor, velocity: Tensor, steps: Tensor) -> Tensor:
        """Mean squared error, of less weight where there is little noise: there it is large and tells of noise."""
        weights = (1 - self._scheduler.alphas_cumprod[steps]).sqrt()[:, None, None, None]
        loss: Tensor = (weights * (output - velocity).square()).mean()
        return loss


class Batches:
    """Captioned latents of both sizes, in random order."""

    def __init__(self, large: float) -> None:
        self._large = large
        vae = trained_vae(4)
        self._text = SdxlText()
        self._captions = {size: captions(count, SEEDS[size]) for size, count in COUNTS.items()}
        self._likelihoods = {size: likelihoods(told) for size, told in self._captions.items()}
        self._latents = {size: latents("all", told, vae, size) for size, told in self._captions.items()}

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents, and what `conditions` gives."""
        size = 256 if torch.rand(()) < self._large else 128
        rows = torch.multinomial(self._likelihoods[size], BATCHES[size])
        prompts = [self._captions[size][row].prompt for row in rows.tolist()]
        clean = self._latents[size][rows].contiguous(memory_format=torch.channels_last)
        return clean, *conditions(self._text, prompts, size)


def conditions(text: SdxlText, prompts: Sequence[str], size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings and pooled embeddings, of some prompts none; and what SDXL is told of the size."""
    embeddings, pooled = text.encode(prompts, FEW_TOKENS if torch.rand(()) < 0.85 else 77)
    told = (torch.rand(len(prompts)) >= EMPTY).float()
    sizes = torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32)
    return embeddings * told[:, None, None], pooled * told[:, None], sizes.expand(len(prompts), -1)


if __name__ == "__main__":
    main()
