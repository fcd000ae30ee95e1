"""What options change and gain, on the small models."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from transformers import CLIPTextModel

from benchmarks import acceleration
from benchmarks.acceleration import Option


def test_every_round_encodes_text() -> None:
    """Or the gain of text encoders in 8 bits would not be seen."""
    encoded: list[nn.Module] = []

    def count(module: nn.Module, _arguments: object, _output: object) -> None:
        if isinstance(module, CLIPTextModel):
            encoded.append(module)

    plain = acceleration.load("flux-schnell", {})
    with torch.no_grad(), register_module_forward_hook(count):
        option = Option("flux-schnell", {"text_encoder_quantization": "int8_weight_only"})
        acceleration.compare(option, plain, 64, rounds=3)
    of_each_side = len(acceleration.PROMPTS) * (1 + 3)  # those that are compared, and others in each round
    assert len(encoded) == 2 * of_each_side


def test_a_step_cache_changes_what_is_in_the_hole() -> None:
    plain = acceleration.load("flux-fill", {})
    with torch.no_grad():
        option = Option("flux-fill", {"lossy_step_cache": 0.4})
        assert acceleration.picture(plain, "flux-fill", 0, 64, "a red circle").shape == (1, 3, 48, 48)
        most, psnr, *_ = acceleration.compare(option, plain, 64, rounds=1)
    assert most > 0
    assert 10 < psnr < 90
