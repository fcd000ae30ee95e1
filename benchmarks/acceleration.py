"""What each option of `acceleration` changes in a picture, and what it gains, against the same model without it.

    python -m benchmarks.acceleration [--size 256] [--rounds 3] [--threads 1] [--compile]

The small models on the CPU, float32. Both sides make the same pictures in one run, in turns; of each side the fastest
round counts, in time of the CPU, which what else runs on the machine disturbs least. Prints a table and, last, one line
of JSON. That an option is exact holds for any weights; how much a lossy one shows or saves depends on them. Gains on a
GPU are benchmarks/gpu.py's to measure. `--compile` adds torch.compile, which takes minutes and a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from config.schema import Acceleration, Family, ModelConfig, Weights
from deployments.models.assembly import load_model
from deployments.models.protocol import DiffusionModel, GenerationInputs

PROMPTS = (
    "a red circle on a blue background",
    "a small white star on a green background",
    "a yellow heart on the left, black background",
    "a purple square on an orange background",
)
LARGE = 1280  # pictures beyond 1024 are decoded in tiles
STEPS_AND_GUIDANCE: dict[Family, tuple[int, float]] = {  # of config/local.yaml, the finest but for schnell
    "sdxl": (20, 2.0),
    "flux-schnell": (4, 0.0),
    "flux-fill": (20, 30.0),
}


@dataclass(frozen=True)
class Option:
    """One side of a comparison; the other is the same model without it."""

    family: Family
    values: dict[str, Any]

    @property
    def label(self) -> str:
        return ", ".join(key if value is True else f"{key}: {value}" for key, value in self.values.items())


OPTIONS = [
    Option("sdxl", {"channels_last": True}),
    Option("sdxl", {"fuse_qkv": True}),
    Option("sdxl", {"quantization": "int8_weight_only"}),
    Option("sdxl", {"quantization": "int8_dynamic"}),
    Option("sdxl", {"text_encoder_quantization": "int8_weight_only"}),
    Option("sdxl", {"vae_tiling": True}),
    Option("sdxl", {"lossy_guidance_cutoff": 0.8}),
    Option("sdxl", {"lossy_guidance_cutoff": 0.5}),
    Option("flux-schnell", {"fuse_qkv": True}),
    Option("flux-schnell", {"attention": "_native_flash"}),
    Option("flux-schnell", {"quantization": "int8_weight_only"}),
    Option("flux-schnell", {"quantization": "int8_dynamic"}),
    Option("flux-schnell", {"text_encoder_quantization": "int8_weight_only"}),
    *(Option("flux-fill", {"lossy_step_cache": threshold}) for threshold in (0.02, 0.05, 0.1, 0.2, 0.4)),
]
COMPILED = [Option("sdxl", {"compile": True}), Option("flux-schnell", {"compile": True})]


def load(family: Family, values: dict[str, Any]) -> DiffusionModel:
    return load_model(
        ModelConfig(
            family=family,
            weights=Weights(source=f"small:{family}"),
            device="cpu",
            acceleration=Acceleration(**values),
        )
    )


def picture(model: DiffusionModel, family: Family, seed: int, size: int, prompt: str) -> Tensor:
    """Pixels of shape (1, 3, size, size), 0 … 1; of Fill those of the hole alone, three quarters of each side of a
    white picture."""
    steps, guidance_scale = STEPS_AND_GUIDANCE[family]
    image, mask, shown = None, None, slice(None)
    if family == "flux-fill":
        shown = slice(size // 8, size - size // 8)
        image, mask = Image.new("RGB", (size, size), "white"), Image.new("L", (size, size), 0)
        mask.paste(255, (shown.start, shown.start, shown.stop, shown.stop))
    asked = GenerationInputs(
        prompt=prompt,
        negative_prompt="",
        width=size,
        height=size,
        seed=seed,
        steps=1 if size == LARGE else steps,
        guidance_scale=guidance_scale,
        scheduler="default",
        image=image,
        mask=mask,
    )
    return model.generate(asked, lambda _step, _steps, _preview: None)[..., shown, shown]


def compare(option: Option, plain: DiffusionModel, size: int, rounds: int) -> tuple[float, float, float, float]:
    """The largest change of a pixel (0 … 1), the PSNR in dB, and the milliseconds of a picture without and with it, of
    the fastest round."""
    accelerated = load(option.family, option.values)
    sides = (plain, accelerated)
    size = LARGE if "vae_tiling" in option.values else size
    asked = list(enumerate(PROMPTS))[: 1 if size == LARGE else None]
    without, with_it = (
        torch.cat([picture(side, option.family, seed, size, prompt) for seed, prompt in asked]) for side in sides
    )
    fastest = [math.inf, math.inf]
    for number in range(rounds):
        for index, side in enumerate(sides):
            started_at = time.process_time()
            for seed, prompt in asked:
                picture(side, option.family, seed, size, f"{prompt} {number}")  # a new one, or no text would be encoded
            fastest[index] = min(fastest[index], (time.process_time() - started_at) * 1000 / len(asked))
    change = (with_it - without).double()
    error = change.square().mean().item()
    return change.abs().max().item(), math.inf if error == 0 else -10 * math.log10(error), *fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{options.size}x{options.size}, {options.threads} thread(s), {platform.machine()}, torch {torch.__version__}"
    )
    print(f"{'':14}{'':44}{'max change':>12}{'PSNR dB':>9}{'ms without':>12}{'with':>8}{'ratio':>7}")
    ratios: dict[str, float] = {}
    with torch.no_grad():
        plain = {family: load(family, {}) for family in STEPS_AND_GUIDANCE}
        for option in [*OPTIONS, *(COMPILED if options.compile else [])]:
            most, psnr, before, after = compare(option, plain[option.family], options.size, options.rounds)
            ratios[f"{option.family} {option.label}"] = round(after / before, 2)
            print(
                f"{option.family:14}{option.label:44}{most:12.1e}{psnr:9.1f}{before:12.0f}{after:8.0f}"
                f"{after / before:7.2f}",
                flush=True,
            )
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
