"""A VAE whose pictures are finite: in half precision some latents overflow, which is decoded again in full precision.

Only rows that are not finite although their latents are decoded again, in float32, which is the known cure; the others
stay as they are. The copy of the VAE that it takes lives as long as the call.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor

logger = logging.getLogger(__name__)


def decode_finitely(vae: AutoencoderKL) -> None:
    """Makes `vae.decode` do so. Does nothing to one in float32: there is no better."""
    if vae.dtype == torch.float32:
        return
    decode = vae.decode

    def decode_again_where_needed(z: Tensor, return_dict: bool = True, **options: Any) -> Any:
        picture: Tensor = decode(z, return_dict=False, **options)[0]
        overflown = ~_is_finite(picture) & _is_finite(z)
        if overflown.any():
            logger.warning("%d pictures overflowed in %s: decoding them in float32", int(overflown.sum()), vae.dtype)
            full = copy.deepcopy(vae).float()
            picture[overflown] = type(vae).decode(full, z[overflown].float(), return_dict=False)[0].to(picture.dtype)
        return DecoderOutput(sample=picture) if return_dict else (picture,)

    vae.decode = decode_again_where_needed


def _is_finite(rows: Tensor) -> Tensor:
    """Of each row."""
    return rows.isfinite().flatten(1).all(1)
