"""How calls of a diffusers autoencoder are merged; the same for every family that has one."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from deployments.engine.collate import MergeRules


def _split_distribution(
    distribution: DiagonalGaussianDistribution, rows: Sequence[int]
) -> list[DiagonalGaussianDistribution]:
    """Every caller samples from its own rows, with its own generator."""
    return [
        DiagonalGaussianDistribution(parameters, deterministic=distribution.deterministic)
        for parameters in distribution.parameters.split(list(rows))
    ]


# encode and decode are wrapped by diffusers in a way that hides their parameters.
AUTOENCODER_METHODS = {
    "encode": MergeRules(parameters=("x",), splitters={DiagonalGaussianDistribution: _split_distribution}),
    "decode": MergeRules(parameters=("z",)),
}
