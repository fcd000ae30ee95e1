from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from config.schema import ModelConfig, Weights
from deployments.models.assembly import load_model
from deployments.models.finite_decoding import decode_finitely
from deployments.models.small import small_model
from tests.unit.models.conftest import Parity, inputs


def vae(dtype: torch.dtype) -> Any:
    """One whose activations overflow for latents with a 7 in them, unless they are in float32."""
    loaded = AutoencoderKL.from_pretrained(small_model("sdxl"), subfolder="vae", dtype=dtype).eval()

    def overflow(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        overflows = (args[0] == 7).flatten(1).any(1)[:, None, None, None]
        return output if output.dtype == torch.float32 else torch.where(overflows, torch.inf, output)

    loaded.post_quant_conv.register_forward_hook(overflow)
    return loaded.requires_grad_(False)


def latents(*overflowing: bool) -> torch.Tensor:
    rows = torch.randn(len(overflowing), 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for row, overflows in zip(rows, overflowing, strict=True):
        row[0, 0, 0] = 7.0 if overflows else 0.0
    return rows.to(torch.bfloat16)


@pytest.fixture
def model() -> Any:
    return vae(torch.bfloat16)


def test_what_overflows_is_decoded_again_and_the_rest_is_left(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    plain = model.decode(latents(False, True, False), return_dict=False)[0]
    assert not plain[1].isfinite().any()
    decode_finitely(model)
    (picture,) = model.decode(latents(False, True, False), return_dict=False)
    assert picture.isfinite().all()
    assert picture.dtype == torch.bfloat16
    assert torch.equal(picture[[0, 2]], plain[[0, 2]])
    full = vae(torch.bfloat16).float().decode(latents(True, False)[:1].float(), return_dict=False)[0]
    (again,) = model.decode(latents(True, False), return_dict=False)
    assert torch.equal(again[:1], full.to(torch.bfloat16))
    assert "1 pictures overflowed" in caplog.text
    assert model.dtype == torch.bfloat16


def test_latents_that_are_not_finite_are_beyond_help(model: Any) -> None:
    decode_finitely(model)
    broken = latents(False)
    broken[0, 0, 0, 0] = torch.nan
    assert not model.decode(broken).sample.isfinite().all()


def test_in_full_precision_there_is_nothing_better() -> None:
    model = vae(torch.float32)
    before = model.decode
    decode_finitely(model)
    assert model.decode == before


def test_a_loaded_model_does_so(parity: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its pictures overflow, in a batch with others and alone."""
    decode = AutoencoderKL.decode

    def overflow(self: Any, z: torch.Tensor, return_dict: bool = True, **options: Any) -> Any:
        sample = decode(self, z, return_dict=False)[0]
        return (torch.full_like(sample, torch.nan) if z.dtype != torch.float32 else sample,)

    monkeypatch.setattr(AutoencoderKL, "decode", overflow)
    config = ModelConfig(family="sdxl", weights=Weights(source="small:sdxl"), device="cpu", dtype="bfloat16")
    pictures = parity.together(load_model(config), [inputs(seed=seed, steps=4) for seed in range(4)])
    assert len(pictures) == 4  # InvalidOutput would have been raised
