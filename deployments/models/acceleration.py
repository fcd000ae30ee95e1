"""What makes a loaded pipeline faster or smaller: the options of config.schema.Acceleration that work on its modules.

Invariants: an option that the hardware or a library cannot honour is a ValueError that begins with its key, never
silence; no option makes a request's picture depend on its company; modules are in evaluation mode and without gradients
as before. Pipelines need not come from `loading`, nor options from pydantic: benchmarks bring both themselves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.fx.experimental._config as symbolic_shapes

from deployments.models.quantization import quantize_blocks, quantize_linears, require_quantization
from deployments.models.step_cache import cache_steps

if TYPE_CHECKING:
    from config.schema import Acceleration, AttentionBackend

# Of one block. Few are needed (docs/performance.md), but beyond it a call raises: let it be far away.
_MOST_COMPILATIONS = 64

# Pixels. What SDXL and FLUX are made for is decoded whole. diffusers goes by `sample_size` of the VAE, which need not
# say so: that of madebyollin/sdxl-vae-fp16-fix is 512.
_WHOLE_SIDE = 1024


def accelerate(pipeline: Any, acceleration: Acceleration, device: torch.device) -> None:
    """Puts `pipeline` on `device`, with the options of `acceleration`. Raises ValueError.

    The order matters: what is fused is quantized, what is quantized moves as 8 bits, and hooks come last.
    """
    if acceleration.quantization == "int8_dynamic" and device.type == "cuda" and not acceleration.compile:
        # torchao 0.18 looks into that text for a word (pytorch/ao#4872), which takes longer than all else.
        raise ValueError(
            "acceleration.quantization: int8_dynamic needs compile on CUDA: without it, torchao writes the input of "
            "every layer out as text"
        )
    if "controlnet" in pipeline.components:  # which is half a UNet, of the same blocks, but does not say so
        pipeline.controlnet._repeated_blocks = pipeline.unet._repeated_blocks
    denoisers = [
        pipeline.components[name] for name in ("unet", "controlnet", "transformer") if name in pipeline.components
    ]
    if acceleration.fuse_qkv:
        _fuse_projections(denoisers)
    _quantize(pipeline, denoisers, acceleration, device)
    if acceleration.channels_last:
        for module in (*denoisers, pipeline.vae):
            module.to(memory_format=torch.channels_last)
    if acceleration.vae_tiling:
        _decode_in_tiles(pipeline)
    if acceleration.group_offload:
        _offload_groups(pipeline, device)
    else:
        pipeline.to(device)
    if acceleration.attention is not None:
        _use_attention(pipeline.transformer, acceleration.attention, device)
    if acceleration.lossy_step_cache is not None:
        cache_steps(pipeline.transformer, acceleration.lossy_step_cache)
    if acceleration.compile:
        _compile(denoisers, device, acceleration.compile_cache)


def _fuse_projections(denoisers: Sequence[Any]) -> None:
    for denoiser in denoisers:
        if hasattr(denoiser, "fuse_qkv_projections"):  # a ControlNet has not
            denoiser.fuse_qkv_projections()
            denoiser.eval().requires_grad_(False)  # the layers that this has made


def _quantize(pipeline: Any, denoisers: Sequence[Any], acceleration: Acceleration, device: torch.device) -> None:
    place = None if acceleration.group_offload else device
    if acceleration.quantization is not None:
        key = "acceleration.quantization"
        require_quantization(key, acceleration.quantization, denoisers[0].dtype, device)
        for denoiser in denoisers:
            quantize_blocks(key, denoiser, acceleration.quantization, place)
    if acceleration.text_encoder_quantization is not None:
        key, kind = "acceleration.text_encoder_quantization", acceleration.text_encoder_quantization
        require_quantization(key, kind, pipeline.text_encoder.dtype, device)
        for encoder in (pipeline.text_encoder, pipeline.text_encoder_2):
            quantize_linears(key, encoder, kind, place)


def _decode_in_tiles(pipeline: Any) -> None:
    """Latents of a larger side than `_WHOLE_SIDE` pixels; and pictures, where they are encoded."""
    pipeline.vae.enable_tiling()
    pipeline.vae.tile_sample_min_size = _WHOLE_SIDE
    pipeline.vae.tile_latent_min_size = _WHOLE_SIDE // pipeline.vae_scale_factor


def _offload_groups(pipeline: Any, device: torch.device) -> None:
    """All weights but the VAE's stay in the host's memory and visit `device` layer by layer, one ahead of its use."""
    if device.type != "cuda":
        raise ValueError(f"acceleration.group_offload: needs CUDA, to load weights while others work; not '{device}'")
    pipeline.enable_group_offload(device, offload_type="leaf_level", use_stream=True, exclude_modules="vae")


def _use_attention(transformer: Any, backend: AttentionBackend, device: torch.device) -> None:
    """Tries it at once: whether a kernel is there for this device and type, only a call tells."""
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    head_size = transformer.config.attention_head_dim
    query = torch.zeros(1, 64, 2, head_size, dtype=transformer.dtype, device=device)
    try:
        transformer.set_attention_backend(backend)
        dispatch_attention_fn(query, query, query, backend=AttentionBackendName(backend))
    except Exception as error:  # of whichever library the backend is in
        raise ValueError(
            f"acceleration.attention: '{backend}' does not work in {transformer.dtype} on {device}: {error}"
        ) from error


def _compile(denoisers: Sequence[Any], device: torch.device, cache: str) -> None:
    """Their repeated blocks, at the first call, for any number of rows and any size.

    torch takes a size of one for a constant, so that there are two of everything: for a single row, and for more. What
    was compiled is kept in the folder `cache`, where the next start finds it.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(cache).expanduser())  # read at each compilation
    try:
        torch.compile(lambda number: number + 1)(torch.zeros(2, device=device))
    except Exception as error:  # of whichever compiler is missing
        raise ValueError(f"acceleration.compile: nothing can be compiled for {device}: {error}") from error
    symbolic_shapes.use_duck_shape = False  # or torch compiles anew where two sizes differ that were equal once
    for denoiser in denoisers:
        denoiser.compile_repeated_blocks(fullgraph=True, dynamic=True, recompile_limit=_MOST_COMPILATIONS)
