"""Builds the small models in memory: the production pipelines' own classes and configurations, only thinner.

Invariants: nothing is read or downloaded; the weights are random, and the same in every process. Where the real
model has a quirk that code may depend on (padding tokens, `force_upcast`, zeroed empty prompts), so has the small one.
"""

from __future__ import annotations

from collections.abc import Callable
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
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from deployments.models.small_tokenizers import clip_tokenizer, t5_tokenizer

TEXT_WIDTH = 64
# What SDXL's UNet and its ControlNet share. Attention, the dear part, is only at the lower levels, as in the real one.
SDXL_LEVELS: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "block_out_channels": (32, 64, 96),
    "layers_per_block": 1,
    "transformer_layers_per_block": [1, 1, 2],
    "attention_head_dim": [1, 2, 3],  # the number of heads: diffusers keeps the misnomer for the sake of old files
    "cross_attention_dim": 2 * TEXT_WIDTH,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 16,
    "projection_class_embeddings_input_dim": TEXT_WIDTH + 6 * 16,  # pooled text and six numbers of size and crop
    "norm_num_groups": 8,
}


def build(name: str) -> DiffusionPipeline | ControlNetModel:
    """The model of that name, of `BUILDERS`, in float32 on the CPU. Leaves torch's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BUILDERS[name]()


def _sdxl() -> StableDiffusionXLPipeline:
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer("!")
    return StableDiffusionXLPipeline(
        vae=_vae(latent_channels=4, scaling_factor=0.13025),
        text_encoder=CLIPTextModel(_clip_config(len(tokenizer), "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(len(tokenizer_2), "gelu")),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=UNet2DConditionModel(
            sample_size=128, up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), **SDXL_LEVELS
        ),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def _sdxl_pose() -> ControlNetModel:
    controlnet = ControlNetModel(conditioning_embedding_out_channels=(8, 16, 32, 48), **SDXL_LEVELS)
    # Born zero or fading the picture to nothing, so that an untrained ControlNet does nothing; a test of one needs it
    # to do something.
    for convolution in [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]:
        torch.nn.init.normal_(convolution.weight, std=0.1)
    for layer in controlnet.controlnet_cond_embedding.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.xavier_normal_(layer.weight, gain=2)
    return controlnet


def _flux_schnell() -> FluxPipeline:
    return FluxPipeline(
        transformer=_flux_transformer(in_channels=64, guidance_embeds=False),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        **_flux_surroundings(),
    )


def _flux_fill() -> FluxFillPipeline:
    # For each 2x2 latents: those of the noise, those of the picture with its hole, and the mask, pixel by pixel.
    transformer = _flux_transformer(in_channels=64 + 64 + 256, guidance_embeds=True)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return FluxFillPipeline(transformer=transformer, scheduler=scheduler, **_flux_surroundings())


BUILDERS: dict[str, Callable[[], DiffusionPipeline | ControlNetModel]] = {
    "sdxl": _sdxl,
    "flux-schnell": _flux_schnell,
    "flux-fill": _flux_fill,
    "sdxl-pose": _sdxl_pose,
}


def _vae(latent_channels: int, scaling_factor: float, **config: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 32, 32),  # thin at full resolution, where a decode spends its time
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,  # over 16384 places of a 1024x1024 picture; a fifth of the decode
        sample_size=1024,
        latent_channels=latent_channels,
        scaling_factor=scaling_factor,
        **config,
    )


def _clip_config(vocabulary: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        hidden_act=activation,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def _flux_transformer(in_channels: int, guidance_embeds: bool) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        in_channels=in_channels,
        out_channels=64,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    )


def _flux_surroundings() -> dict[str, Any]:
    """All components of a FLUX pipeline but the transformer and the scheduler."""
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
    t5_config = T5Config(
        vocab_size=len(tokenizer_2),
        d_model=TEXT_WIDTH,
        d_kv=16,
        d_ff=2 * TEXT_WIDTH,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    return {
        "vae": _vae(16, 0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        "text_encoder": CLIPTextModel(_clip_config(len(tokenizer), "quick_gelu")),
        "tokenizer": tokenizer,
        "text_encoder_2": T5EncoderModel(t5_config),
        "tokenizer_2": tokenizer_2,
    }
