"""The small models: they load and draw as the real ones do, are the same wherever built, and are never half built."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    FluxFillPipeline,
    FluxPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

from deployments.models import small_pipelines
from deployments.models.small import SMALL_MODELS, main, small_model
from deployments.models.small_tokenizers import END, START, WORDS, clip_tokenizer, t5_tokenizer

REPOSITORY = Path(__file__).parents[3]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' schedulers


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that these tests share, and one thread: more of them on a busy machine wait for each other."""
    folder = tmp_path_factory.mktemp("easel")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EASEL_CACHE", str(folder))
        yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EASEL_CACHE", str(tmp_path))
    return tmp_path


def load(pipeline_class: type[Any], name: str, **components: Any) -> Any:
    pipeline = pipeline_class.from_pretrained(small_model(name), **components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, prompt: str = "a red cat", seed: int = 0, **options: Any) -> Any:
    """The picture, 64x64 unless told, as floats on [0, 1]."""
    options = {"height": 64, "width": 64, "num_inference_steps": 2, **options}
    generator = torch.Generator().manual_seed(seed)
    return pipeline(prompt, generator=generator, output_type="np", **options).images[0]


def digests(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize(
    ("name", "pipeline_class"),
    [("sdxl", StableDiffusionXLPipeline), ("flux-schnell", FluxPipeline), ("flux-fill", FluxFillPipeline)],
)
def test_the_folder_itself_says_which_pipeline_it_is(name: str, pipeline_class: type[Any]) -> None:
    assert type(DiffusionPipeline.from_pretrained(small_model(name))) is pipeline_class


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_models_are_a_few_megabytes(name: str) -> None:
    size = sum(file.stat().st_size for file in small_model(name).rglob("*") if file.is_file())
    assert 1e6 < size < 20e6


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_weights_are_safetensors_that_any_user_may_read(name: str) -> None:
    files = [file for file in small_model(name).rglob("*") if file.is_file()]
    assert {file.suffix for file in files} == {".json", ".safetensors"}
    assert all(file.stat().st_mode & 0o004 for file in files)


def test_sdxl_has_the_quirks_of_the_real_one() -> None:
    pipeline = load(StableDiffusionXLPipeline, "sdxl")
    assert pipeline.config.force_zeros_for_empty_prompt
    assert pipeline.vae.config.force_upcast
    assert pipeline.vae.config.scaling_factor == 0.13025
    assert (pipeline.tokenizer.pad_token, pipeline.tokenizer_2.pad_token) == (END, "!")
    assert pipeline.scheduler.config.timestep_spacing == "leading"
    assert not hasattr(pipeline.unet.down_blocks[0], "attentions")


def test_sdxl_pictures_follow_prompt_seed_and_guidance() -> None:
    pipeline = load(StableDiffusionXLPipeline, "sdxl")
    picture = draw(pipeline, num_inference_steps=4)
    assert picture.shape == (64, 64, 3)
    assert picture.std() > 0.05
    assert np.array_equal(picture, draw(pipeline, num_inference_steps=4))
    changes: list[dict[str, Any]] = [
        {"prompt": "a blue dog"},
        {"seed": 1},
        {"guidance_scale": 7.0},
        {"negative_prompt": "ugly"},
    ]
    for change in changes:
        assert np.abs(draw(pipeline, num_inference_steps=4, **change) - picture).max() > 2e-2, change


def test_flux_pictures_follow_prompt_and_seed() -> None:
    pipeline = load(FluxPipeline, "flux-schnell")
    options: dict[str, Any] = {"guidance_scale": 0.0, "max_sequence_length": 256}
    picture = draw(pipeline, **options)
    assert picture.std() > 0.02
    assert np.abs(draw(pipeline, "a blue dog", **options) - picture).max() > 5e-3
    assert np.abs(draw(pipeline, seed=1, **options) - picture).max() > 2e-2


def test_flux_fill_pictures_follow_prompt_picture_mask_and_guidance() -> None:
    pipeline = load(FluxFillPipeline, "flux-fill")
    white, black = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), "black")
    whole, half = Image.new("L", (64, 64), 255), Image.new("L", (64, 64), 0)
    half.paste(255, (0, 0, 32, 64))
    options: dict[str, Any] = {"image": white, "mask_image": half, "guidance_scale": 30.0}
    picture = draw(pipeline, **options)
    changes: list[dict[str, Any]] = [
        {"prompt": "a blue dog"},
        {"image": black},
        {"mask_image": whole},
        {"guidance_scale": 3.0},
    ]
    for change in changes:
        assert np.abs(draw(pipeline, **{**options, **change}) - picture).max() > 5e-3, change


def test_controlnet_steers_sdxl() -> None:
    controlnet = ControlNetModel.from_pretrained(small_model("sdxl-pose"))
    pipeline = load(StableDiffusionXLControlNetPipeline, "sdxl", controlnet=controlnet)
    black, white = Image.new("RGB", (64, 64), "black"), Image.new("RGB", (64, 64), "white")
    picture = draw(pipeline, image=black)
    assert np.abs(draw(pipeline, image=white) - picture).max() > 2e-2
    assert np.abs(draw(pipeline, image=black, controlnet_conditioning_scale=0.0) - picture).max() > 2e-2


@pytest.mark.parametrize("text", ["", " \n\t", "a red circle", "🐱 猫 ünïcöde \x00 <|endoftext|>", "(ball)1.3 " * 60])
def test_any_text_has_ids_within_the_vocabulary(text: str) -> None:
    for tokenizer in (clip_tokenizer(), clip_tokenizer("!"), t5_tokenizer(77)):
        ids = tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
        assert len(ids) == 77
        assert 0 <= min(ids) <= max(ids) < len(tokenizer)


def test_clip_vocabulary_is_laid_out_as_the_real_one() -> None:
    tokenizer = clip_tokenizer("!")
    ids = tokenizer("a red circle", padding="max_length", max_length=77).input_ids
    size = len(tokenizer)
    assert tokenizer.convert_ids_to_tokens([0, size - 2, size - 1]) == ["!", START, END]
    assert ids[0] == size - 2
    assert ids[4:] == [size - 1] + [0] * 72
    assert tokenizer.decode(tokenizer("Ünïcode 🐱").input_ids, skip_special_tokens=True) == "ünïcode 🐱"


def test_known_words_are_one_token() -> None:
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    assert [word for word in WORDS if len(clip(word).input_ids) != 3] == []
    assert [word for word in WORDS if len(t5(word).input_ids) != 2] == []


def test_two_processes_build_the_same_bytes_and_tell_what_they_do(tmp_path: Path) -> None:
    environment = {**os.environ, "EASEL_CACHE": str(tmp_path), "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-m", "deployments.models.small"]
    told = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    lines = told.stdout.splitlines()
    assert len(lines) == 2 * len(SMALL_MODELS)
    for name, before, after in zip(SMALL_MODELS, lines[::2], lines[1::2], strict=True):
        folder = next(tmp_path.rglob(f"small-models/*/{name}"))
        assert before == f"{name}: building ..."
        assert re.fullmatch(rf"{name}: \d+\.\d MB in \d+\.\d s, in {re.escape(str(folder))}", after)
        assert digests(folder) == digests(small_model(name))
    # diffusers imports torchao wherever it is, and torchao tells what it cannot load.
    assert not [
        line for line in told.stderr.splitlines() if "torchao" not in line and "torch/utils/_pytree" not in line
    ]


def test_importing_the_module_is_cheap() -> None:
    check = "import sys, deployments.models.small; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, check=True)


def test_command_keeps_what_is_there_and_refuses_unknown_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))  # the command sets some for its own process
    folder = small_model("sdxl-pose")
    inode = folder.stat().st_ino
    main(["sdxl-pose"])
    assert capsys.readouterr().out.startswith("sdxl-pose: there already, ")
    assert folder.stat().st_ino == inode
    with pytest.raises(SystemExit):
        main(["sdxl-pose", "sdxll"])
    assert "no small model 'sdxll'; known: sdxl, " in capsys.readouterr().err


def test_unknown_name_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'flux'; known: sdxl, flux-schnell, flux-fill, sdxl-pose"):
        small_model("flux")


def test_building_leaves_the_random_state_alone() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        state = torch.random.get_rng_state()
        small_pipelines.build("sdxl-pose")
        assert torch.equal(torch.random.get_rng_state(), state)


def test_what_is_there_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_model("sdxl-pose")
    monkeypatch.delattr(small_pipelines, "build")
    assert small_model("sdxl-pose") == folder


def test_force_builds_anew(empty_cache: Path) -> None:
    folder = small_model("sdxl-pose")
    whole = digests(folder)
    (folder / "config.json").write_text("{}")
    assert small_model("sdxl-pose") == folder
    assert digests(folder) != whole
    assert small_model("sdxl-pose", force=True) == folder
    assert digests(folder) == whole
    assert list(folder.parent.iterdir()) == [folder]


class Partial:
    """Stands for a model whose saving does `then` after a first file."""

    def __init__(self, then: Any) -> None:
        self.then = then

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        self.then()


def test_an_interrupted_build_does_not_count(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(small_pipelines, "build", lambda name: Partial(interrupt))
        with pytest.raises(KeyboardInterrupt):
            small_model("sdxl-pose")
    assert [path for path in empty_cache.rglob("*") if path.is_file()] == []
    ControlNetModel.from_pretrained(small_model("sdxl-pose"))


def test_a_killed_build_does_not_count(empty_cache: Path) -> None:
    killed = (
        "import os, sys; from unittest.mock import Mock; from deployments.models.small import small_model\n"
        "def save(folder): folder.mkdir(); (folder / 'config.json').touch(); os._exit(9)\n"
        "sys.modules['deployments.models.small_pipelines'] = builders = Mock()\n"
        "builders.build.return_value.save_pretrained = save\n"
        "small_model('sdxl-pose')"
    )
    assert subprocess.run([sys.executable, "-c", killed], cwd=REPOSITORY, capture_output=True).returncode == 9
    assert len(list(empty_cache.rglob("config.json"))) == 1
    ControlNetModel.from_pretrained(small_model("sdxl-pose"))


def test_the_loser_of_a_race_takes_the_winners_folder(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = small_model("sdxl-pose")
    whole = digests(place)
    place.rename(empty_cache / "winner")
    monkeypatch.setattr(small_pipelines, "build", lambda name: Partial(lambda: (empty_cache / "winner").rename(place)))
    assert small_model("sdxl-pose") == place
    assert digests(place) == whole
    assert list(place.parent.iterdir()) == [place]


def test_a_cache_that_cannot_take_the_folder_is_an_error(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = small_model("sdxl-pose")
    place.rename(empty_cache / "aside")
    place.touch()
    monkeypatch.setattr(small_pipelines, "build", lambda name: Partial(lambda: None))
    with pytest.raises(OSError, match="sdxl-pose"):
        small_model("sdxl-pose")
