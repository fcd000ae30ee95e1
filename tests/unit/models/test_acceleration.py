"""Each option does what it says, changes pictures no more than it may, and leaves requests to share forwards.

What an option may change is given in steps of 1/255, against the same requests without it. In company a request gets
the picture that it gets alone with the option.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline, StableDiffusionXLControlNetPipeline
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import nn

from config.schema import Acceleration, ModelConfig, Weights
from deployments.models.acceleration import accelerate
from deployments.models.flux import FluxSchnell
from deployments.models.loading import load_pipeline
from deployments.models.quantization import quantize_blocks, quantize_linears
from deployments.models.sdxl_pose import StableDiffusionXLPose
from tests.unit.models.conftest import Parity, difference, drawing, inputs, mean_difference, window

if TYPE_CHECKING:
    from deployments.models.protocol import DiffusionModel, GenerationInputs
    from tests.unit.models.conftest import Picture

# All kinds, one row and two, two sizes; and FLUX's, of two lengths.
SDXL_REQUESTS = [
    inputs(seed=1, steps=6, skeleton=drawing(1)),
    inputs(seed=2, steps=3),
    inputs(seed=3, steps=2, guidance_scale=1.0, skeleton=drawing(3)),
    inputs(seed=4, steps=4, image=drawing(4), strength=0.5),
    inputs(seed=5, steps=2, image=drawing(5), mask=window(), guidance_scale=1.0),
    inputs(seed=6, steps=2, width=96),
]
FLUX_REQUESTS = [
    inputs(seed=1, steps=4, guidance_scale=0.0),
    inputs(seed=2, steps=2, guidance_scale=0.0, prompt="a cat in a forest"),
    inputs(seed=3, steps=1, guidance_scale=0.0, width=128),
    inputs(seed=4, steps=3, guidance_scale=0.0),
]
DENOISERS = ("unet", "controlnet", "transformer")


class Case:
    """A family with its requests, and what diffusers makes of them without any option."""

    def __init__(self, family: str, pipeline_class: Any, model_class: Any, requests: list[GenerationInputs]) -> None:
        self.requests = requests
        self._family, self._pipeline_class, self._model_class = family, pipeline_class, model_class

    def load(self, **options: Any) -> Any:
        is_pose = self._family == "sdxl-pose"
        config = ModelConfig(
            family=self._family,  # type: ignore[arg-type]
            weights=Weights(source="small:sdxl" if is_pose else f"small:{self._family}"),
            controlnet=Weights(source="small:sdxl-pose") if is_pose else None,
            device="cpu",
            acceleration=Acceleration(**options),
        )
        return load_pipeline(self._pipeline_class, config)

    def model(self, pipeline: Any) -> DiffusionModel:
        model: DiffusionModel = self._model_class(pipeline)
        return model

    @functools.cached_property
    def plain(self) -> list[Picture]:
        parity = Parity()
        model = self.model(self.load())
        pictures = [parity.alone(model, one) for one in self.requests]
        parity.engine.stop()
        return pictures


SDXL = Case("sdxl-pose", StableDiffusionXLControlNetPipeline, StableDiffusionXLPose, SDXL_REQUESTS)
FLUX = Case("flux-schnell", FluxPipeline, FluxSchnell, FLUX_REQUESTS)
BOTH = pytest.mark.parametrize("case", [SDXL, FLUX], ids=["sdxl-pose", "flux-schnell"])


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Compilation has settings of the whole process, and so has attention."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    backend, _ = _AttentionBackendRegistry.get_active_backend()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
        yield
    _AttentionBackendRegistry.set_active_backend(backend)
    torch.compiler.set_default_backend(None)
    torch.compiler.reset()


@pytest.fixture
def graphs() -> list[torch.fx.GraphModule]:
    """Those that are compiled, for which a compiler that leaves them as they are will do."""
    compiled: list[torch.fx.GraphModule] = []

    def compiler(graph: torch.fx.GraphModule, _examples: object) -> Callable[..., Any]:
        compiled.append(graph)
        return graph.forward

    torch.compiler.set_default_backend(compiler)
    return compiled


def check(
    parity: Parity,
    case: Case,
    pipeline: Any,
    changed: float,
    in_company: float = 1,
    measure: Callable[[Any, Any], float] = difference,
) -> None:
    """Alone a picture differs by at most `changed` from what it is without options, and `in_company` from alone."""
    model = case.model(pipeline)
    together = parity.together(model, case.requests)
    assert max(made.largest_batch for made in parity.engine.statistics().forwards.values()) >= 2
    for one, plain, in_batch in zip(case.requests, case.plain, together, strict=True):
        alone = parity.alone(model, one)
        assert measure(alone, plain) <= changed, one
        assert measure(in_batch, alone) <= in_company, one
    # The measure can tell.
    assert measure(case.plain[0], case.plain[1]) > 5 * max(changed, in_company)


def parameters_are_ready(pipeline: Any) -> bool:
    modules = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    return not any(part.training for module in modules for part in module.modules()) and not any(
        parameter.requires_grad for module in modules for parameter in module.parameters()
    )


def test_convolutions_with_channels_last(parity: Parity) -> None:
    pipeline = SDXL.load(channels_last=True)
    for module in (pipeline.unet, pipeline.controlnet, pipeline.vae.encoder):
        assert module.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    check(parity, SDXL, pipeline, changed=1)


@BOTH
def test_fused_projections(parity: Parity, case: Case) -> None:
    pipeline = case.load(fuse_qkv=True)
    denoiser = pipeline.components.get("unet") or pipeline.transformer
    fused = [name for name, _ in denoiser.named_modules() if name.endswith("to_qkv")]
    assert fused
    calls: list[str] = []
    for name in fused:
        denoiser.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    check(parity, case, pipeline, changed=1)
    assert set(calls) == set(fused)
    assert parameters_are_ready(pipeline)


@pytest.mark.parametrize("backend", ["native", "_native_flash"])
def test_attention_backends(parity: Parity, backend: str) -> None:
    pipeline = FLUX.load(attention=backend)
    processors = [part.processor for part in pipeline.transformer.modules() if hasattr(part, "processor")]
    assert {processor._attention_backend for processor in processors} == {backend}
    check(parity, FLUX, pipeline, changed=1)


@BOTH
@pytest.mark.parametrize(("kind", "changed"), [("int8_weight_only", 1.5), ("int8_dynamic", 3)])
def test_quantized_blocks(parity: Parity, case: Case, kind: str, changed: float) -> None:
    from torchao.quantization import Int8Tensor

    pipeline = case.load(quantization=kind)
    denoisers = [pipeline.components[name] for name in DENOISERS if name in pipeline.components]
    for denoiser in denoisers:
        for place, layer in denoiser.named_modules():
            if isinstance(layer, nn.Linear):
                is_in_block = "transformer_blocks" in place
                modulates = ".norm" in place
                is_meant = is_in_block and not (modulates and kind == "int8_dynamic")
                assert isinstance(layer.weight, Int8Tensor) == is_meant, place
    assert parameters_are_ready(pipeline)
    check(parity, case, pipeline, changed=changed, in_company=changed, measure=mean_difference)
    # A loud row in a batch takes nothing from a quiet one.
    layer = next(layer for layer in denoisers[0].modules() if isinstance(getattr(layer, "weight", None), Int8Tensor))
    quiet, loud = torch.randn(1, 32, layer.in_features), 100 * torch.randn(1, 32, layer.in_features)
    assert torch.allclose(layer(torch.cat([quiet, loud]))[:1], layer(quiet), atol=1e-5)


def test_quantization_leaves_the_settings_of_inductor() -> None:
    """Which are those of all that the process compiles."""
    before = torch._inductor.config.save_config_portable()
    SDXL.load(quantization="int8_dynamic", text_encoder_quantization="int8_weight_only")
    with pytest.raises(ValueError, match="on cpu"):
        SDXL.load(quantization="fp8_dynamic")
    assert torch._inductor.config.save_config_portable() == before


def test_a_layer_that_cannot_be_quantized_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchao does not say: sides of 24 are no multiples of 16."""
    monkeypatch.setattr("torchao.quantization.quant_api._check_hardware_support", lambda _granularity: None)

    class Block(nn.Sequential):
        _repeated_blocks = ("Block",)

    def block(side: int) -> Block:
        return Block(nn.Linear(64, 64), nn.Linear(64, side)).bfloat16().requires_grad_(False)

    quantize_blocks("key", block(48), "fp8_dynamic", None)
    with pytest.raises(ValueError, match=r"^key: fp8_dynamic does not work for 1 of 2 layers, .*\(24, 64\)"):
        quantize_blocks("key", block(24), "fp8_dynamic", None)
    with pytest.raises(ValueError, match=r"^key: fp8_dynamic does not work for 1 of 2 layers, .*\(24, 64\)"):
        quantize_linears("key", block(24), "fp8_dynamic", None)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_products_in_8_bits_that_nothing_compiles_are_an_error_on_cuda(device: str) -> None:
    with pytest.raises(ValueError, match=r"^acceleration\.quantization: int8_dynamic needs compile on CUDA"):
        accelerate(FLUX.load(), Acceleration(quantization="int8_dynamic"), torch.device(device))


@BOTH
def test_quantized_text_encoders(parity: Parity, case: Case) -> None:
    from torchao.quantization import Int8Tensor

    pipeline = case.load(text_encoder_quantization="int8_weight_only")
    for encoder in (pipeline.text_encoder, pipeline.text_encoder_2):
        linears = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)]
        assert linears
        assert all(isinstance(layer.weight, Int8Tensor) for layer in linears)
    check(parity, case, pipeline, changed=2, measure=mean_difference)


@BOTH
def test_what_is_not_larger_than_1024_is_decoded_whole(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a VAE that says that it is for smaller ones."""
    pipeline = case.load()
    pipeline.vae = AutoencoderKL.from_config(pipeline.vae.config, sample_size=512).eval()
    accelerate(pipeline, Acceleration(vae_tiling=True), torch.device("cpu"))
    tiled: list[torch.Tensor] = []

    def decode_in_tiles(latents: torch.Tensor, return_dict: bool) -> DecoderOutput:
        tiled.append(latents)
        return DecoderOutput(latents)

    monkeypatch.setattr(pipeline.vae, "tiled_decode", decode_in_tiles)
    whole = torch.zeros(1, pipeline.vae.config.latent_channels, 128, 128)
    with torch.no_grad():
        assert pipeline.vae.decode(whole, return_dict=False)[0].shape[-2:] == (1024, 1024)
        assert not tiled
        pipeline.vae.decode(nn.functional.pad(whole, (0, 1)), return_dict=False)
    assert len(tiled) == 1


def test_large_pictures_in_tiles(parity: Parity) -> None:
    """Only those that are larger than 1024; here then, lest it take long, than 64."""
    pipeline = SDXL.load(vae_tiling=True)
    check(parity, SDXL, pipeline, changed=1)
    pipeline.vae.tile_latent_min_size, pipeline.vae.tile_sample_min_size = 8, 64
    large = inputs(seed=7, steps=2, width=128)
    tiled = parity.alone(SDXL.model(pipeline), large)
    whole = parity.alone(SDXL.model(SDXL.load()), large)
    assert difference(tiled, whole) > 1
    assert tiled.shape == whole.shape


@BOTH
def test_what_visits_the_device_layer_by_layer(parity: Parity, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' hooks between the engine and the layers; the device they visit is the CPU here, where they stay."""
    pipeline = case.load()
    on_the_cpu = functools.partial(pipeline.enable_group_offload, torch.device("cpu"))
    asked: dict[str, Any] = {}

    def enable(device: torch.device, use_stream: bool, **how: Any) -> None:
        asked.update(device=device, use_stream=use_stream, **how)
        on_the_cpu(**how)

    monkeypatch.setattr(pipeline, "enable_group_offload", enable)
    accelerate(pipeline, Acceleration(group_offload=True), torch.device("cuda"))
    assert asked == {
        "device": torch.device("cuda"),
        "use_stream": True,
        "offload_type": "leaf_level",
        "exclude_modules": "vae",
    }
    check(parity, case, pipeline, changed=1)


def test_compiled_blocks_of_sdxl_are_few(parity: Parity, graphs: list[torch.fx.GraphModule], tmp_path: Path) -> None:
    """Quantized ones, and with channels last around them, as well."""
    pipeline = SDXL.load(compile=True, compile_cache=str(tmp_path), channels_last=True, quantization="int8_weight_only")
    probes = len(graphs)
    model = SDXL.model(pipeline)
    parity.alone(model, inputs(steps=1, skeleton=drawing(1)))
    parity.alone(model, inputs(steps=1, guidance_scale=1.0, skeleton=drawing(1)))
    # Of two widths, one of them in two layouts, for one row and for more; UNet and ControlNet have them in common.
    assert len(graphs) - probes == 6
    check(parity, SDXL, pipeline, changed=1.5, measure=mean_difference)
    parity.alone(model, inputs(steps=1, width=128, height=96, prompt="a long prompt " * 60))
    assert len(graphs) - probes == 6


def test_compiled_blocks_of_flux_are_few(parity: Parity, graphs: list[torch.fx.GraphModule], tmp_path: Path) -> None:
    pipeline = FLUX.load(compile=True, compile_cache=str(tmp_path))
    probes = len(graphs)
    model = FLUX.model(pipeline)
    parity.together(model, [inputs(steps=3, seed=seed, guidance_scale=0.0) for seed in range(4)])
    assert len(graphs) - probes == 8  # two kinds of block, the first of a kind and the others, for one row and for more
    check(parity, FLUX, pipeline, changed=1)
    parity.alone(model, inputs(steps=1, guidance_scale=0.0, width=128, height=96))
    assert len(graphs) - probes == 8


def test_what_was_compiled_is_kept_in_the_folder_that_is_configured(
    graphs: list[torch.fx.GraphModule], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.setenv("HOME", str(tmp_path))
    accelerate(FLUX.load(), Acceleration(compile=True), torch.device("cpu"))
    assert cache_dir() == str(tmp_path / ".cache" / "easel" / "compiled")


@pytest.mark.parametrize(
    ("case", "options", "reason"),
    [
        (SDXL, {"group_offload": True}, "acceleration.group_offload: needs CUDA"),
        (SDXL, {"quantization": "fp8_dynamic"}, "acceleration.quantization: fp8_dynamic does not work in .* on cpu"),
        (FLUX, {"attention": "flash"}, "acceleration.attention: 'flash' does not work .* on cpu: .*flash-attn"),
        (FLUX, {"attention": "_native_cudnn"}, "acceleration.attention: '_native_cudnn' does not work .* on cpu"),
    ],
)
def test_what_cannot_be_honoured_is_an_error_at_start(case: Case, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        case.load(**options)


@pytest.mark.parametrize("key", ["quantization", "text_encoder_quantization"])
def test_quantization_without_torchao_is_an_error(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ValueError, match=rf"^acceleration\.{key}: needs torchao"):
        FLUX.load(**{key: "int8_weight_only"})


def test_compilation_without_a_compiler_is_an_error(tmp_path: Path) -> None:
    def compiler(_graph: torch.fx.GraphModule, _examples: object) -> Callable[..., Any]:
        raise RuntimeError("no compiler")

    torch.compiler.set_default_backend(compiler)
    with pytest.raises(
        ValueError, match=r"^acceleration\.compile: nothing can be compiled for cpu: (?s:.*)no compiler"
    ):
        FLUX.load(compile=True, compile_cache=str(tmp_path))
