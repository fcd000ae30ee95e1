"""Weights in 8 bits by torchao: of the blocks that a denoiser repeats, and of text encoders.

Invariants: every output channel of a weight, and with dynamic quantization every token, has a scale of its own, so that
no request's picture depends on its company; a module is quantized whole or, with a ValueError, not at all. torchao is
imported only when asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from config.schema import Quantization


def quantize_blocks(denoiser: Any, kind: Quantization, device: torch.device | None) -> None:
    """The linear layers of a diffusers model's repeated blocks, where its time and memory go.

    But not those that modulate norms where activations are quantized too: of a row they see one token only, from which
    there is no time to gain, and kernels want more.
    """
    linears: set[nn.Module] = {
        layer
        for block in denoiser.modules()
        if type(block).__name__ in denoiser._repeated_blocks
        for name, layer in block.named_modules()
        if isinstance(layer, nn.Linear) and (kind == "int8_weight_only" or "norm" not in name)
    }
    _quantize(denoiser, kind, linears, device)


def quantize_linears(module: nn.Module, kind: Quantization, device: torch.device | None) -> None:
    """All linear layers."""
    _quantize(module, kind, {layer for layer in module.modules() if isinstance(layer, nn.Linear)}, device)


def require_quantization(key: str, kind: Quantization, dtype: torch.dtype, device: torch.device) -> None:
    """Raises ValueError, which begins with `key`, where `kind` does not work: tries it on a layer of its own."""
    layer = nn.Linear(64, 64, dtype=dtype, device=device).requires_grad_(False)
    try:
        _quantize(layer, kind, {layer}, None)
        layer(torch.zeros(32, 64, dtype=dtype, device=device))
    except ImportError as error:
        raise ValueError(f"{key}: needs torchao, which cannot be imported ({error}); see docs/operating.md") from error
    except (AssertionError, RuntimeError, ValueError) as error:  # by which torchao and torch say what they cannot do
        raise ValueError(f"{key}: {kind} does not work in {dtype} on {device}: {error}") from error


def _quantize(module: nn.Module, kind: Quantization, layers: set[nn.Module], device: torch.device | None) -> None:
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
    quantize_(module, configs[kind](granularity=PerRow()), lambda layer, _name: layer in layers, device=device)
