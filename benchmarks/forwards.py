"""Forwards of a pipeline's modules on random inputs, as pipelines call them: what a step, a text and a picture cost.

Works on SDXL and FLUX pipelines of any size: all shapes are read from the modules' own configurations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deployments.models.flux import FluxSchnell
from deployments.models.flux_fill import FluxFill
from deployments.models.step_cache import memory_arguments

Forward = Callable[[], object]

CLIP_TOKENS = 77
FLUX_TOKENS = {model.pipeline_class: model.text_tokens for model in (FluxSchnell, FluxFill)}


def step(pipeline: Any, size: int, rows: int) -> Forward:
    """One denoising step of `rows` rows at `size` x `size`, its ControlNet's forward included.

    A guided SDXL picture takes two rows.
    """
    return (_flux_step if hasattr(pipeline, "transformer") else _sdxl_step)(pipeline, size, rows)


def texts(pipeline: Any, rows: int) -> Forward:
    """Both text encoders read `rows` texts."""
    tokens = FLUX_TOKENS.get(type(pipeline), CLIP_TOKENS)
    device = pipeline.text_encoder.device
    for_first = torch.randint(0, pipeline.text_encoder.config.vocab_size, (rows, CLIP_TOKENS), device=device)
    for_second = torch.randint(0, pipeline.text_encoder_2.config.vocab_size, (rows, tokens), device=device)

    def run() -> None:
        pipeline.text_encoder(for_first, output_hidden_states=True)
        pipeline.text_encoder_2(for_second, output_hidden_states=True)

    return run


def decoding(pipeline: Any, size: int, rows: int) -> Forward:
    """The VAE decodes `rows` pictures."""
    side = size // pipeline.vae_scale_factor
    latents = _random(pipeline.vae, rows, pipeline.vae.config.latent_channels, side, side)
    return lambda: pipeline.vae.decode(latents, return_dict=False)


def _sdxl_step(pipeline: Any, size: int, rows: int) -> Forward:
    unet, side = pipeline.unet, size // pipeline.vae_scale_factor
    sample = _random(unet, rows, unet.config.in_channels, side, side)
    timestep = torch.full((rows,), 500.0, device=unet.device)
    common = {
        "encoder_hidden_states": _random(unet, rows, CLIP_TOKENS, unet.config.cross_attention_dim),
        "added_cond_kwargs": {
            "text_embeds": _random(unet, rows, pipeline.text_encoder_2.config.projection_dim),
            "time_ids": torch.tensor([[size, size, 0, 0, size, size]] * rows, device=unet.device, dtype=unet.dtype),
        },
        "return_dict": False,
    }
    controlnet = getattr(pipeline, "controlnet", None)
    if controlnet is None:
        return lambda: unet(sample, timestep, **common)
    skeleton = _random(controlnet, rows, 3, size, size)

    def run() -> object:
        down, middle = controlnet(sample, timestep, controlnet_cond=skeleton, conditioning_scale=1.0, **common)
        return unet(
            sample,
            timestep,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            **common,
        )

    return run


def _flux_step(pipeline: Any, size: int, rows: int) -> Forward:
    transformer = pipeline.transformer
    config, device = transformer.config, transformer.device
    side = size // pipeline.vae_scale_factor // 2  # latents are taken two by two
    tokens = FLUX_TOKENS[type(pipeline)]
    inputs = {
        "hidden_states": _random(transformer, rows, side * side, config.in_channels),
        "encoder_hidden_states": _random(transformer, rows, tokens, config.joint_attention_dim),
        "pooled_projections": _random(transformer, rows, config.pooled_projection_dim),
        "timestep": torch.full((rows,), 0.5, device=device, dtype=transformer.dtype),
        "guidance": torch.full((rows,), 3.5, device=device) if config.guidance_embeds else None,
        "img_ids": torch.cartesian_prod(torch.arange(1), torch.arange(side), torch.arange(side)).to(device),
        "txt_ids": torch.zeros(tokens, 3, device=device),
        "return_dict": False,
    }
    memories = memory_arguments(transformer, rows)  # of the rows' steps, if the transformer caches any
    return lambda: transformer(**inputs, **memories)


def _random(module: Any, *shape: int) -> Tensor:
    return torch.randn(shape, device=module.device, dtype=module.dtype)
