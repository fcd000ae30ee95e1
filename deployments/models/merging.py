"""How calls of the modules that families have in common are merged: text encoders and the autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from deployments.engine.collate import MergeRules
from deployments.engine.shared_module import share


def _split_distribution(
    distribution: DiagonalGaussianDistribution, rows: Sequence[int]
) -> list[DiagonalGaussianDistribution]:
    """Every caller samples from its own rows, with its own generator."""
    return [
        DiagonalGaussianDistribution(parameters, deterministic=distribution.deterministic)
        for parameters in distribution.parameters.split(list(rows))
    ]


TEXT_ENCODER_METHODS = {"forward": MergeRules()}

# Decoding is the peak of a model's memory, and beyond one picture of this size merging gains nothing.
_MOST_PIXELS = 1024 * 1024
_PIXELS_PER_LATENT = 8 * 8

# encode and decode are wrapped by diffusers in a way that hides their parameters.
AUTOENCODER_METHODS = {
    "encode": MergeRules(
        parameters=("x",),
        splitters={DiagonalGaussianDistribution: _split_distribution},
        most_positions=_MOST_PIXELS,
    ),
    "decode": MergeRules(parameters=("z",), most_positions=_MOST_PIXELS // _PIXELS_PER_LATENT),
}


def share_surroundings(pipeline: Any) -> dict[str, Any]:
    """Stand-ins for the text encoders and the autoencoder of an SDXL or FLUX pipeline, by component."""
    return {
        "text_encoder": share(pipeline.text_encoder, "text_encoder", TEXT_ENCODER_METHODS),
        "text_encoder_2": share(pipeline.text_encoder_2, "text_encoder_2", TEXT_ENCODER_METHODS),
        "vae": share(pipeline.vae, "vae", AUTOENCODER_METHODS),
    }
