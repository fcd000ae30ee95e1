"""Loading: the same from a small model, a folder and the hub's cache; and plain errors for what cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline, StableDiffusionXLInpaintPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from config.schema import ModelConfig, Weights
from deployments.models.loading import ModelLoadError, load_pipeline, resolve_source
from deployments.models.small import small_model

REPOSITORY = Path(__file__).parents[3]
PINNED, OTHER, ABSENT = "a" * 40, "b" * 40, "c" * 40


@pytest.fixture(scope="module", autouse=True)
def sdxl() -> Iterator[Path]:
    """The folder of the small SDXL. One thread, for more wait for each other when busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield small_model("sdxl")
    torch.set_num_threads(threads)


@pytest.fixture
def copy(sdxl: Path, tmp_path: Path) -> Path:
    """A folder of the small SDXL to change."""
    return shutil.copytree(sdxl, tmp_path / "sdxl")


def config(source: Path | str, **options: Any) -> ModelConfig:
    return ModelConfig(family="sdxl", weights=Weights(source=str(source)), **{"device": "cpu", **options})


def modules(pipeline: Any) -> dict[str, torch.nn.Module]:
    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


def mark(folder: Path, value: float) -> None:
    """Writes `value` into the last bias of the VAE in `folder`, to know it again."""
    file = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["decoder.conv_out.bias"] = torch.full((3,), value)
    save_file(tensors, file, metadata={"format": "pt"})


def marks_of(pipeline: Any) -> list[float]:
    marks: list[float] = pipeline.vae.decoder.conv_out.bias.tolist()
    return marks


def replacement_vae(sdxl: Path, folder: Path) -> Path:
    """A VAE in a folder of its own, as the fp16-safe one of SDXL is laid out on the hub."""
    vae = AutoencoderKL.from_pretrained(sdxl / "vae", dtype=torch.float32)
    vae.register_to_config(force_upcast=False)
    vae.save_pretrained(folder)
    mark(folder, 0.5)
    return folder


def to_pickle(file: Path) -> None:
    names = {
        "model.safetensors": "pytorch_model.bin",
        "diffusion_pytorch_model.safetensors": "diffusion_pytorch_model.bin",
    }
    torch.save(load_file(file), file.with_name(names[file.name]))
    file.unlink()


@pytest.mark.parametrize("pipeline_class", [StableDiffusionXLPipeline, StableDiffusionXLInpaintPipeline])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_small_model_comes_ready_to_serve(pipeline_class: type[Any], dtype: str) -> None:
    pipeline = load_pipeline(pipeline_class, config("small:sdxl", dtype=dtype))
    assert type(pipeline) is pipeline_class
    assert set(modules(pipeline)) == {"unet", "vae", "text_encoder", "text_encoder_2"}
    for module in modules(pipeline).values():
        assert not any(part.training for part in module.modules())
        for parameter in module.parameters():
            assert (parameter.dtype, parameter.device.type) == (getattr(torch, dtype), "cpu")
            assert not parameter.requires_grad
    assert not pipeline.vae.config.force_upcast
    assert list(pipeline.progress_bar([1])) == [1]


def test_pictures_are_those_of_diffusers_own_loading(sdxl: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def draw(pipeline: Any) -> torch.Tensor:
        seed = torch.Generator().manual_seed(0)
        options = {"height": 64, "width": 64, "num_inference_steps": 1, "output_type": "pt"}
        picture: torch.Tensor = pipeline("a red cat", generator=seed, **options).images
        return picture

    loaded = load_pipeline(StableDiffusionXLPipeline, config(sdxl))
    picture = draw(loaded)
    assert capfd.readouterr().err == ""  # no bars in logs
    # Not equal to the last bit: without gradients torch takes other kernels.
    assert torch.allclose(
        picture, draw(StableDiffusionXLPipeline.from_pretrained(sdxl, dtype=torch.float32)), rtol=0, atol=1e-5
    )


def test_pictures_get_no_watermark_even_where_the_package_for_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl"
    monkeypatch.setattr(f"{module}.is_invisible_watermark_available", lambda: True)
    assert load_pipeline(StableDiffusionXLPipeline, config("small:sdxl")).watermark is None


def test_pipelines_that_know_no_watermark_load_too() -> None:
    assert isinstance(load_pipeline(FluxPipeline, config("small:flux-schnell")), FluxPipeline)


def test_auto_is_the_gpu_where_there_is_one() -> None:
    pipeline = load_pipeline(StableDiffusionXLPipeline, config("small:sdxl", device="auto"))
    assert pipeline.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_float16_needs_a_vae_made_for_it(sdxl: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"float16 .* set 'vae' to one made for float16"):
        load_pipeline(StableDiffusionXLPipeline, config(sdxl, dtype="float16"))
    vae = Weights(source=str(replacement_vae(sdxl, tmp_path / "vae")))
    pipeline = load_pipeline(StableDiffusionXLPipeline, config(sdxl, dtype="float16", vae=vae))
    assert {parameter.dtype for part in modules(pipeline).values() for parameter in part.parameters()} == {
        torch.float16
    }


def test_float16_accepts_a_model_whose_own_vae_is_made_for_it(sdxl: Path, copy: Path) -> None:
    replacement_vae(sdxl, copy / "vae")
    assert load_pipeline(StableDiffusionXLPipeline, config(copy, dtype="float16")).vae.dtype == torch.float16


def test_a_replacement_vae_is_used_and_the_models_own_not_even_read(sdxl: Path, copy: Path, tmp_path: Path) -> None:
    (copy / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"not read")
    vae = Weights(source=str(replacement_vae(sdxl, tmp_path / "vae")))
    pipeline = load_pipeline(StableDiffusionXLPipeline, config(copy, dtype="bfloat16", vae=vae))
    assert marks_of(pipeline) == [0.5] * 3
    assert pipeline.vae.dtype == torch.bfloat16
    assert not any(parameter.requires_grad for parameter in pipeline.vae.parameters())


def test_a_variant_is_taken_from_its_own_files(sdxl: Path, tmp_path: Path) -> None:
    whole = StableDiffusionXLPipeline.from_pretrained(sdxl, dtype=torch.float16)
    whole.save_pretrained(tmp_path, variant="fp16")
    assert len(list(tmp_path.rglob("*.fp16.safetensors"))) == len(list(tmp_path.rglob("*.safetensors"))) == 4
    weights = Weights(source=str(tmp_path), variant="fp16")
    pipeline = load_pipeline(StableDiffusionXLPipeline, ModelConfig(family="sdxl", weights=weights, device="cpu"))
    assert torch.equal(pipeline.unet.conv_in.weight, whole.unet.conv_in.weight.float())
    with pytest.raises(ModelLoadError, match="no file named"):
        load_pipeline(StableDiffusionXLPipeline, config(tmp_path))
    with pytest.raises(ModelLoadError, match="variant=fp16"):
        load_pipeline(
            StableDiffusionXLPipeline, ModelConfig(family="sdxl", weights=Weights(source=str(sdxl), variant="fp16"))
        )


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_pickled_weights_are_refused(copy: Path, part: str) -> None:
    to_pickle(next((copy / part).glob("*.safetensors")))
    with pytest.raises(ModelLoadError, match=rf"from '{copy}': .*\.safetensors .*/{part}\b"):
        load_pipeline(StableDiffusionXLPipeline, config(copy))


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".pth"])
def test_a_folder_of_nothing_but_pickles_is_refused_and_none_is_opened(
    copy: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("must not open a pickle"))
    for file in copy.rglob("*.safetensors"):
        to_pickle(file)
    for file in copy.rglob("*.bin"):
        file.rename(file.with_suffix(suffix))
    with pytest.raises(ModelLoadError, match=rf"from '{copy}': .*\.safetensors"):
        load_pipeline(StableDiffusionXLPipeline, config(copy))


def test_damaged_weights_are_an_error_that_names_the_folder(copy: Path) -> None:
    for part in ("unet", "text_encoder"):
        file = next((copy / part).glob("*.safetensors"))
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ModelLoadError, match=f"from '{copy}'"):
            load_pipeline(StableDiffusionXLPipeline, config(copy))
        file.write_bytes(whole)


def test_missing_weights_are_an_error(copy: Path) -> None:
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_in.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lacks 1 weights of unet, as conv_in\.weight"):
        load_pipeline(StableDiffusionXLPipeline, config(copy))


@pytest.mark.parametrize("source", ["/nowhere/at/all", "nowhere", "./nowhere"])
def test_a_missing_folder_is_an_error_that_names_it(source: str) -> None:
    with pytest.raises(ModelLoadError, match=f"'{source}' is not a folder"):
        load_pipeline(StableDiffusionXLPipeline, config(source))


def test_a_folder_without_a_model_is_an_error_that_names_it(tmp_path: Path) -> None:
    for dtype in ("float32", "float16"):
        with pytest.raises(ModelLoadError, match=rf"'{tmp_path}': .*The folder must hold"):
            load_pipeline(StableDiffusionXLPipeline, config(tmp_path, dtype=dtype))


def test_sources_resolve_to_folders_or_repositories(
    sdxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_source(Weights(source="small:sdxl")) == str(sdxl)
    assert resolve_source(Weights(source=str(sdxl))) == str(sdxl)
    assert resolve_source(Weights(source="owner/name", revision=PINNED)) == "owner/name"
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    assert resolve_source(Weights(source="~/models")) == str(tmp_path / "models")
    with pytest.raises(ValueError, match="known: sdxl"):
        resolve_source(Weights(source="small:sdxll"))


def add_to_hub_cache(home: Path, repository: str, revision: str, folder: Path) -> Path:
    """Puts the files of `folder` into `home` as huggingface_hub keeps a download: links to blobs, by commit."""
    entry = home / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = entry / "snapshots" / revision
    (entry / "blobs").mkdir(parents=True, exist_ok=True)
    for file in (file for file in folder.rglob("*") if file.is_file()):
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        blob = entry / "blobs" / f"{revision[:8]}-{'-'.join(file.relative_to(folder).parts)}"
        shutil.copy(file, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (entry / "refs").mkdir(exist_ok=True)
    (entry / "refs" / "main").write_text(revision)
    return snapshot


# In a process of its own, because huggingface_hub reads its environment when it is imported.
LOAD_FROM_HUB_CACHE = """
import json, sys
from diffusers import StableDiffusionXLPipeline
from config.schema import ModelConfig
from deployments.models.loading import load_pipeline

outcomes = []
for config in json.loads(sys.stdin.read()):
    try:
        pipeline = load_pipeline(StableDiffusionXLPipeline, ModelConfig.model_validate({"family": "sdxl", **config}))
        outcomes.append(pipeline.vae.decoder.conv_out.bias.tolist())
    except (RuntimeError, ValueError) as error:
        outcomes.append(f"{type(error).__name__}: {error}")
print(json.dumps(outcomes))
"""


def test_hub_repositories_load_offline_at_the_pinned_commit(sdxl: Path, copy: Path, tmp_path: Path) -> None:
    home = tmp_path / "huggingface"
    for revision, value in ((PINNED, 0.25), (OTHER, 0.75)):  # refs/main is at OTHER
        mark(copy / "vae", value)
        add_to_hub_cache(home, "owner/sdxl", revision, copy)
    add_to_hub_cache(home, "owner/vae", PINNED, replacement_vae(sdxl, tmp_path / "vae"))
    half = tmp_path / "half"
    StableDiffusionXLPipeline.from_pretrained(sdxl, dtype=torch.float16).save_pretrained(half, variant="fp16")
    add_to_hub_cache(home, "owner/half", PINNED, half)
    pickled = shutil.copytree(copy, tmp_path / "pickled")
    to_pickle(pickled / "unet" / "diffusion_pytorch_model.safetensors")
    add_to_hub_cache(home, "owner/pickled", PINNED, pickled)

    def at(repository: str, revision: str = PINNED, **options: Any) -> dict[str, Any]:
        return {"source": repository, "revision": revision, **options}

    cases = [
        {"weights": at("owner/sdxl")},
        {"weights": at("owner/sdxl", OTHER)},
        {"weights": at("owner/sdxl"), "vae": at("owner/vae"), "dtype": "bfloat16"},
        {"weights": at("owner/half", variant="fp16"), "vae": at("owner/vae"), "dtype": "float16"},
        {"weights": at("owner/sdxl"), "dtype": "float16"},
        {"weights": at("owner/pickled")},
        {"weights": at("owner/sdxl", ABSENT)},
        {"weights": at("owner/absent")},
        {"weights": at("owner/sdxl"), "vae": at("owner/absent")},
    ]
    outcome = subprocess.run(
        [sys.executable, "-c", LOAD_FROM_HUB_CACHE],
        input=json.dumps(cases),
        cwd=REPOSITORY,
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    pinned, other, replaced, half_precision, overflowing, *errors = json.loads(outcome.stdout)
    assert pinned == [0.25] * 3
    assert other == [0.75] * 3
    assert replaced == half_precision == [0.5] * 3
    assert overflowing.startswith("ValueError: dtype: float16")
    sources = ["owner/pickled", "owner/sdxl", "owner/absent", "owner/absent"]
    for error, source, revision in zip(errors, sources, [PINNED, ABSENT, PINNED, PINNED], strict=True):
        assert error.startswith("ModelLoadError: cannot load ")
        assert f"from '{source}': " in error
        for word in (revision, "HF_HUB_OFFLINE", "HF_TOKEN"):
            assert word in error
