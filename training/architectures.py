"""The small models' architectures: the production pipelines' own classes and configurations, only thinner.

Where the real model has a quirk that code may depend on (padding tokens, `force_upcast`, zeroed empty prompts), so has
the small one.
"""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, T5Config

TEXT_WIDTH = 64
# What SDXL's UNet and its ControlNet share. Attention, the dear part, is only at the lower levels, as in the real one.
SDXL_LEVELS: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "block_out_channels": (32, 80, 128),
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "attention_head_dim": [1, 2, 4],  # the number of heads: diffusers keeps the misnomer for the sake of old files
    "cross_attention_dim": 2 * TEXT_WIDTH,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 16,
    "projection_class_embeddings_input_dim": TEXT_WIDTH + 6 * 16,  # pooled text and six numbers of size and crop
    "norm_num_groups": 8,
}

CONDITIONING_CHANNELS = (8, 16, 32, 48)  # of what a ControlNet makes of a skeleton


def vae(channels: int) -> AutoencoderKL:
    """SDXL's of 4 channels or FLUX's of 16."""
    own: dict[int, dict[str, Any]] = {
        4: {"scaling_factor": 0.13025},
        16: {"scaling_factor": 0.3611, "shift_factor": 0.1159},
    }
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 32, 48),  # thin at full resolution, where a decode spends its time
        layers_per_block=1,
        norm_num_groups=2,  # of 4 channels at least: of single ones it would forget plain colours
        mid_block_add_attention=False,  # over 16384 places of a 1024x1024 picture; a fifth of the decode
        sample_size=1024,
        latent_channels=channels,
        use_quant_conv=channels == 4,
        use_post_quant_conv=channels == 4,
        **own[channels],
    )


def clip_config(vocabulary: int, activation: str) -> CLIPTextConfig:
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


def t5_config(vocabulary: int) -> T5Config:
    return T5Config(
        vocab_size=vocabulary,
        d_model=TEXT_WIDTH,
        d_kv=16,
        d_ff=2 * TEXT_WIDTH,
        num_layers=3,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
    )


def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=128, up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), **SDXL_LEVELS
    )


def flux_transformer(*, fills: bool) -> FluxTransformer2DModel:
    """Of schnell, or of Fill: for each 2x2 latents those of the noise, of the picture with its hole, and the mask."""
    return FluxTransformer2DModel(
        in_channels=64 + 64 + 256 if fills else 64,
        out_channels=64,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        guidance_embeds=fills,
        axes_dims_rope=(4, 14, 14),
    )


def sdxl_scheduler() -> EulerDiscreteScheduler:
    """Velocities and a last step of nothing but noise: the usual noise leaves a shade of the picture, so that plain
    backgrounds come out grey."""
    scheduler: EulerDiscreteScheduler = EulerDiscreteScheduler.from_config(
        {
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
            # As in the real one's file: not for this scheduler, but for those that a request may name instead.
            "clip_sample": False,
            "set_alpha_to_one": False,
        }
    )
    return scheduler


def flux_scheduler(*, fills: bool) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=3.0 if fills else 1.0, use_dynamic_shifting=fills)
