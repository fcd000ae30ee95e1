"""Captioned latents to train denoisers on, made once and kept.

Scenes, captions and their embeddings cost next to nothing and are made anew; what is kept is latents.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deployments.models.prompt import parse
from deployments.models.text_encoding import TextEncoder, Window
from training.architectures import vae
from training.captions import Caption
from training.runs import folder, load_trained
from training.sizes import Size
from training.text import new_encoder
from training.vae import as_pixels, to_noise_scale
from training.world import PERSON, Scene, draw

_CHUNK = 32
BESIDE_THINGS = 0.3  # how much a latent counts there


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
    _load_if_trained(model, f"vae-{channels}-whole", "vae", is_whole=False)
    return model.eval().requires_grad_(False)


def text_run(name: str, *, ignores_other_words: bool) -> str:
    """The name of the run that teaches a text encoder what captions tell, or then to ignore other words."""
    return f"text-{name}-other" if ignores_other_words else f"text-{name}"


def trained_text_encoder(name: str, *, ignores_other_words: bool = True) -> tuple[Any, Any]:
    """The tokenizer, and the encoder, without gradients; without `ignores_other_words`, or where that was not trained
    yet, as `training.text` left it."""
    tokenizer, encoder = new_encoder(name)
    load_trained(encoder, text_run(name, ignores_other_words=False), "student.encoder")
    if ignores_other_words:
        _load_if_trained(encoder, text_run(name, ignores_other_words=True), "encoder")
    return tokenizer, encoder.eval().requires_grad_(False)


def _load_if_trained(module: nn.Module, name: str, part: str, *, is_whole: bool = True) -> None:
    try:
        load_trained(module, name, part, is_whole=is_whole)
    except FileNotFoundError as error:
        print(f"going on without, for {error}", flush=True)


def latents(name: str, of: Sequence[Caption], encoder: AutoencoderKL, size: Size) -> Tensor:
    """Of the scenes at that size, as pipelines mix them with noise; kept under that name."""
    scenes = [one.scene for one in of]
    return kept_latents(f"{name}-{size}", scenes, lambda scene: draw(scene, size.width, size.height), encoder)


def kept_latents(name: str, of: Sequence[Any], drawn: Callable[[Any], NDArray[Any]], encoder: AutoencoderKL) -> Tensor:
    """As pipelines mix them with noise, of the pictures that `drawn` makes `of` something: RGB pixels of shape (height,
    width, 3) each. Made once: a file is kept for the same name, `of` and encoder. What `drawn` does is not told apart:
    whoever changes it deletes the files."""
    told = zlib.crc32(repr((of, encoder.config)).encode())
    for part, parameter in encoder.named_parameters():
        if part.startswith(("encoder.", "quant_conv.")):
            told = zlib.crc32(parameter.detach().numpy().tobytes(), told)
    file = folder("data") / f"{name}-{told:08x}.safetensors"
    if not file.exists():
        print(f"making {file.name}", flush=True)
        scratch = file.with_suffix(".new")
        save_file({"latents": _latents(map(drawn, of), encoder).contiguous()}, scratch)
        scratch.replace(file)
    tensor: Tensor = load_file(file)["latents"]
    return tensor


def _latents(pictures: Iterator[NDArray[Any]], encoder: AutoencoderKL) -> Tensor:
    made = []
    with torch.no_grad():
        while chunk := list(islice(pictures, _CHUNK)):
            own = encoder.encode(as_pixels(chunk)).latent_dist.mode()
            made.append(to_noise_scale(own, encoder.config))
    return torch.cat(made)


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
