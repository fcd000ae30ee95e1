"""Pipelines of full size with random weights: speed and memory do not depend on the values, and nothing is downloaded.

The architectures are those of the published configurations: Stable Diffusion XL base 1.0, a ControlNet for it (xinsir's
for poses has the common architecture), FLUX.1 schnell and FLUX.1 Fill. The tokenizers are the small models' own, whose
ids the full-size text encoders know too. Needs torch, transformers and diffusers, and no package of a service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from training.tokenizers import clip_tokenizer, t5_tokenizer

DTYPE = torch.bfloat16

SDXL_LEVELS: dict[str, Any] = {  # what the UNet and its ControlNet share
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],  # the number of heads: diffusers keeps the misnomer for the sake of old files
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 1024,
    "force_upcast": False,
}
CLIP: dict[str, Any] = {"vocab_size": 49408, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
CLIP_L: dict[str, Any] = CLIP | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
}
OPENCLIP_BIG_G: dict[str, Any] = CLIP | {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "projection_dim": 1280,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
}
T5_XXL: dict[str, Any] = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
FLUX: dict[str, Any] = {
    "out_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "axes_dims_rope": (16, 56, 56),
}


def build(family: str, device: torch.device) -> DiffusionPipeline:
    """The pipeline of that family, one of `FAMILIES`, ready to be called."""
    pipeline_class, modules, others = FAMILIES[family]
    with _made_on(device):
        components = {name: make() for name, make in modules.items()}
    for module in components.values():
        module.eval().requires_grad_(False)
    pipeline = pipeline_class(**components, **others())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def parameter_counts(family: str) -> dict[str, int]:
    """Of each module; takes no memory."""
    with _made_on(torch.device("meta")):
        modules = {name: make() for name, make in FAMILIES[family][1].items()}
    return {name: sum(parameter.numel() for parameter in module.parameters()) for name, module in modules.items()}


@contextmanager
def _made_on(device: torch.device) -> Iterator[None]:
    """Modules made here are in place from the start: in float32 on the CPU the largest would take 48 GB."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(usual)


def _vae(latent_channels: int, scaling_factor: float, **config: Any) -> Callable[[], nn.Module]:
    return lambda: AutoencoderKL(**VAE, latent_channels=latent_channels, scaling_factor=scaling_factor, **config)


SDXL_MODULES: dict[str, Callable[[], nn.Module]] = {
    "unet": lambda: UNet2DConditionModel(
        sample_size=128, up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), **SDXL_LEVELS
    ),
    "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**CLIP_L)),
    "text_encoder_2": lambda: CLIPTextModelWithProjection(CLIPTextConfig(**OPENCLIP_BIG_G)),
    "vae": _vae(4, 0.13025),
}
FLUX_MODULES: dict[str, Callable[[], nn.Module]] = {
    "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**CLIP_L)),
    "text_encoder_2": lambda: T5EncoderModel(T5Config(**T5_XXL)),
    "vae": _vae(16, 0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
}


def _sdxl_others() -> dict[str, Any]:
    return {
        "tokenizer": clip_tokenizer(),
        "tokenizer_2": clip_tokenizer("!"),
        "scheduler": EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        "force_zeros_for_empty_prompt": True,
        "add_watermarker": False,
    }


def _flux_others(**scheduler: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {
        "tokenizer": clip_tokenizer(),
        "tokenizer_2": t5_tokenizer(),
        "scheduler": FlowMatchEulerDiscreteScheduler(**scheduler),
    }


# Of each family its pipeline class, its modules and its other components, which are not made on the device.
FAMILIES: dict[str, tuple[type[Any], dict[str, Callable[[], nn.Module]], Callable[[], dict[str, Any]]]] = {
    "sdxl": (StableDiffusionXLPipeline, SDXL_MODULES, _sdxl_others),
    "sdxl-pose": (
        StableDiffusionXLControlNetPipeline,
        SDXL_MODULES
        | {"controlnet": lambda: ControlNetModel(conditioning_embedding_out_channels=(16, 32, 96, 256), **SDXL_LEVELS)},
        _sdxl_others,
    ),
    "flux-schnell": (
        FluxPipeline,
        FLUX_MODULES | {"transformer": lambda: FluxTransformer2DModel(in_channels=64, guidance_embeds=False, **FLUX)},
        _flux_others(shift=1.0),
    ),
    "flux-fill": (
        FluxFillPipeline,
        FLUX_MODULES | {"transformer": lambda: FluxTransformer2DModel(in_channels=384, guidance_embeds=True, **FLUX)},
        _flux_others(shift=3.0, use_dynamic_shifting=True),
    ),
}
