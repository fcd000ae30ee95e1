"""Weights in 8 bits by torchao: of the blocks that a denoiser repeats, and of text encoders.

Invariants: every output channel of a weight, and with dynamic quantization every token, has a scale of its own, so that
no request's picture depends on its company; a layer that is meant and stays as it was is a ValueError, which begins
with the `key` of the configuration. torchao is imported only when asked for, and changes no settings of Inductor, which
are those of the whole process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from config.schema import Quantization


def quantize_blocks(key: str, denoiser: Any, kind: Quantization, device: torch.device | None) -> None:
    """The linear layers of a diffusers model's repeated blocks, where its time and memory go."""
    linears = linears_of_blocks(denoiser, kind)
    _quantize(denoiser, kind, linears, device)
    _require_all(key, kind, linears)


def linears_of_blocks(denoiser: Any, kind: Quantization) -> set[nn.Linear]:
    """Those that `quantize_blocks` means.

    Not those that modulate norms where activations are quantized too: of a row they see one token only, from which
    there is no time to gain, and kernels want more.
    """
    return {
        layer
        for block in denoiser.modules()
        if type(block).__name__ in denoiser._repeated_blocks
        for name, layer in block.named_modules()
        if isinstance(layer, nn.Linear) and (kind == "int8_weight_only" or "norm" not in name)
    }


def quantize_linears(key: str, module: nn.Module, kind: Quantization, device: torch.device | None) -> None:
    """All linear layers."""
    linears: set[nn.Linear] = {layer for layer in module.modules() if isinstance(layer, nn.Linear)}
    _quantize(module, kind, linears, device)
    _require_all(key, kind, linears)


def require_quantization(key: str, kind: Quantization, dtype: torch.dtype, device: torch.device) -> None:
    """Raises ValueError where `kind` does not work: tries it on a layer of its own."""
    layer = nn.Linear(64, 64, dtype=dtype, device=device).requires_grad_(False)
    try:
        _quantize(layer, kind, {layer}, None)
        layer(torch.zeros(32, 64, dtype=dtype, device=device))
    except ImportError as error:
        raise ValueError(f"{key}: needs torchao, which cannot be imported ({error}); see docs/operating.md") from error
    except (AssertionError, RuntimeError, ValueError) as error:  # by which torchao and torch say what they cannot do
        raise ValueError(f"{key}: {kind} does not work in {dtype} on {device}: {error}") from error


def _quantize(module: nn.Module, kind: Quantization, layers: set[nn.Linear], device: torch.device | None) -> None:
    """Layer by layer, each moved to `device` first if there is one: the whole need not fit there as it was."""
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Int8DynamicActivationInt8WeightConfig,
        Int8WeightOnlyConfig,
        PerRow,
        quantize_,
    )

    configs = {
        "int8_weight_only": Int8WeightOnlyConfig,
        "int8_dynamic": Int8DynamicActivationInt8WeightConfig,
        "fp8_dynamic": Float8DynamicActivationFloat8WeightConfig,
    }
    config = configs[kind](granularity=PerRow(), set_inductor_config=False)
    quantize_(module, config, lambda layer, _name: layer in layers, device=device)


def _require_all(key: str, kind: Quantization, layers: set[nn.Linear]) -> None:
    """torchao passes over what it cannot quantize, as in fp8 a weight of which a side is no multiple of 16."""
    left = [layer for layer in layers if type(layer.weight) is nn.Parameter]  # others are of a class of torchao's
    if left:
        raise ValueError(
            f"{key}: {kind} does not work for {len(left)} of {len(layers)} layers, as for one whose weight has the "
            f"shape {tuple(left[0].weight.shape)}"
        )
