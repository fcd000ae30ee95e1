"""Captioned latents to train denoisers on, made once and kept.

Scenes, captions and their embeddings cost next to nothing and are made anew; what is kept is latents.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from deployments.models.prompt import parse
from deployments.models.text_encoding import TextEncoder, Window
from training.architectures import vae
from training.captions import Caption, caption
from training.runs import folder, load_trained
from training.sizes import Size
from training.text import new_encoder
from training.vae import to_noise_scale
from training.world import PERSON, Scene, draw, is_held_out, random_scene

_CHUNK = 32
BESIDE_THINGS = 0.3  # how much a latent counts there


def captions(count: int, seed: int, **shares: float) -> list[Caption]:
    """Of scenes to train on; `shares` are those of `random_scene`."""
    chance = random.Random(seed)
    found: list[Caption] = []
    while len(found) < count:
        scene = random_scene(chance, **shares)
        if not is_held_out(scene):
            found.append(caption(scene, chance))
    return found


def likelihoods(of: Sequence[Caption]) -> Tensor:
    """How often each is to be drawn, for the best use of few steps: mostly single things, which the others are made of,
    and little of what a caption leaves open, which only adds noise."""
    return torch.tensor([_likelihood(one) for one in of])


def _likelihood(of: Caption) -> float:
    is_person, is_pair = of.scene.things[0].kind == PERSON, len(of.scene.things) > 1
    return (1.0 if of.tells_all else 0.2) * (0.5 if is_person else 0.3 if is_pair else 1.0)


def importance(of: Sequence[Scene], size: Size) -> Tensor:
    """How much each latent counts, of shape (scenes, 1, height / 8, width / 8): in the squares of things all, elsewhere
    little, as few latents tell one shape from another."""
    across, down = (torch.arange(4, side, 8) for side in (size.width, size.height))
    found = torch.full((len(of), 1, len(down), len(across)), BESIDE_THINGS)
    for row, scene in enumerate(of):
        for thing in scene.things:
            reach = 1.15 * thing.radius * min(size.width, size.height)
            is_there = [
                (middles - place * side).abs() <= reach
                for middles, place, side in zip((across, down), thing.centre, (size.width, size.height), strict=True)
            ]
            found[row, 0, is_there[1][:, None] & is_there[0][None, :]] = 1
    return found


def trained_vae(channels: int) -> AutoencoderKL:
    """Without gradients; its decoder as it is best."""
    model = vae(channels)
    load_trained(model, f"vae-{channels}", "vae")
    with contextlib.suppress(FileNotFoundError):
        load_trained(model, f"vae-{channels}-whole", "vae")
    return model.eval().requires_grad_(False)


def trained_text_encoder(name: str) -> tuple[Any, Any]:
    """The tokenizer, and the encoder, without gradients."""
    tokenizer, encoder = new_encoder(name)
    load_trained(encoder, f"text-{name}", "student.encoder")
    return tokenizer, encoder.eval().requires_grad_(False)


def latents(name: str, of: Sequence[Caption], encoder: AutoencoderKL, size: Size) -> Tensor:
    """Of the scenes at that size, as pipelines mix them with noise; kept under that name."""
    pictures = (draw(one.scene, size.width, size.height) for one in of)
    kept_as = f"latents-{encoder.config.latent_channels}-{size}-{name}"
    return kept(kept_as, lambda: latents_of(pictures, encoder), len(of))


def latents_of(pictures: Iterator[np.ndarray], encoder: AutoencoderKL) -> Tensor:
    """Of RGB pixels of shape (height, width, 3) each, as pipelines mix them with noise."""
    made = []
    while chunk := list(islice(pictures, _CHUNK)):
        made.append(to_noise_scale(encoded(encoder, np.stack(chunk)), encoder.config))
    return torch.cat(made)


def encoded(encoder: AutoencoderKL, pictures: np.ndarray) -> Tensor:
    """The VAE's own latents of RGB pixels of shape (count, height, width, 3)."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        mode: Tensor = encoder.encode(pixels).latent_dist.mode()
    return mode


class SdxlText:
    """Prompts with weights to embeddings, as the service makes them. `length` is CLIP's, padding and all."""

    def __init__(self) -> None:
        self._encoders = [trained_text_encoder("clip"), trained_text_encoder("clip-projected")]

    def encode(self, prompts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        """Embeddings of shape (prompts, length, 2 × TEXT_WIDTH), and pooled ones of shape (prompts, TEXT_WIDTH)."""
        outputs = []
        for tokenizer, module in self._encoders:
            encoder = TextEncoder(tokenizer, module, length, penultimate=True)
            with torch.no_grad():
                outputs.append(encoder.encode(_windows(encoder, prompts)))
        return torch.cat([embeddings for embeddings, _ in outputs], dim=-1), outputs[1][1]


class FluxText:
    """The same for FLUX. `length` is T5's, padding and all."""

    def __init__(self) -> None:
        self._clip_tokenizer, self._clip = trained_text_encoder("clip")
        self._t5_tokenizer, self._t5 = trained_text_encoder("t5")

    def encode(self, prompts: Sequence[str], plain: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        """Embeddings of shape (prompts, length, TEXT_WIDTH), and pooled ones of shape (prompts, TEXT_WIDTH)."""
        encoder = TextEncoder(self._t5_tokenizer, self._t5, length, penultimate=False)
        with torch.no_grad():
            embeddings, _ = encoder.encode(_windows(encoder, prompts))
            # CLIP looks only back, so that what stands behind the end changes nothing.
            ids = self._clip_tokenizer(list(plain), padding=True, truncation=True, return_tensors="pt").input_ids
            pooled: Tensor = self._clip(ids).pooler_output
        return embeddings, pooled


def _windows(encoder: TextEncoder, prompts: Sequence[str]) -> list[Window]:
    return [encoder.windows(encoder.tokenize(parse(prompt)), 1)[0] for prompt in prompts]


def kept(name: str, make: Any, count: int) -> Tensor:
    file = folder("data") / f"{name}-{count}.safetensors"
    if not file.exists():
        print(f"making {file.name}", flush=True)
        scratch = file.with_suffix(".new")
        save_file({"tensor": make().contiguous()}, scratch)
        scratch.replace(file)
    tensor: Tensor = load_file(file)["tensor"]
    return tensor
