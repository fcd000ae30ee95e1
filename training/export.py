"""Writes what the runs have so far as the folders that `small:*` loads: `python -m training.export [FOLDER]`.

In half precision. What was not trained yet is left out, and said.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, FluxFillPipeline, FluxPipeline, StableDiffusionXLPipeline

from deployments.models.small import FOLDER
from training.architectures import CONDITIONING_CHANNELS, flux_scheduler, flux_transformer, sdxl_scheduler, unet
from training.data import trained_text_encoder, trained_vae
from training.runs import load_trained


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    for name, build in BUILDERS.items():
        try:
            model = build()
        except FileNotFoundError as error:
            print(f"{name}: left out, for {error}")
            continue
        model.to(dtype=torch.float16).save_pretrained(folder / name)
        files = [file for file in (folder / name).rglob("*") if file.is_file()]
        for file in files:
            file.chmod(0o644)  # weights are saved for their owner only, but who exports need not be who serves
        print(f"{name}: {sum(file.stat().st_size for file in files) / 1e6:.1f} MB")


def _sdxl() -> StableDiffusionXLPipeline:
    denoiser = unet()
    load_trained(denoiser, "sdxl", "unet")
    tokenizer, encoder = trained_text_encoder("clip")
    tokenizer_2, encoder_2 = trained_text_encoder("clip-projected")
    return StableDiffusionXLPipeline(
        vae=trained_vae(4),
        text_encoder=encoder,
        text_encoder_2=encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=denoiser,
        scheduler=sdxl_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def _sdxl_pose() -> ControlNetModel:
    model = ControlNetModel.from_unet(
        unet(), conditioning_embedding_out_channels=CONDITIONING_CHANNELS, load_weights_from_unet=False
    )
    load_trained(model, "sdxl-pose", "controlnet")
    return model


def _flux_schnell() -> FluxPipeline:
    return FluxPipeline(**_flux("schnell"))


def _flux_fill() -> FluxFillPipeline:
    return FluxFillPipeline(**_flux("fill"))


def _flux(name: str) -> dict[str, Any]:
    transformer = flux_transformer(fills=name == "fill")
    load_trained(transformer, f"flux-{name}", "transformer")
    tokenizer, encoder = trained_text_encoder("clip")
    tokenizer_2, encoder_2 = trained_text_encoder("t5")
    return {
        "scheduler": flux_scheduler(fills=name == "fill"),
        "vae": trained_vae(16),
        "text_encoder": encoder,
        "tokenizer": tokenizer,
        "text_encoder_2": encoder_2,
        "tokenizer_2": tokenizer_2,
        "transformer": transformer,
    }


BUILDERS: dict[str, Callable[[], Any]] = {
    "sdxl": _sdxl,
    "sdxl-pose": _sdxl_pose,
    "flux-schnell": _flux_schnell,
    "flux-fill": _flux_fill,
}


if __name__ == "__main__":
    main()
