"""The small models load as the real ones do, have their quirks, and draw what they are asked for."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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

from deployments.models.small import FOLDER, SMALL_MODELS, small_model
from deployments.pose.skeleton import draw as draw_skeleton
from training.figures import body
from training.measure import Seen, look, overlap, thing_mask
from training.tokenizers import END
from training.world import COLOURS, SHAPES, Scene, draw, placed_figure, random_scene

REPOSITORY = Path(__file__).parents[3]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' schedulers


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """More of them on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(pipeline_class: type[Any], name: str, **components: Any) -> Any:
    pipeline = pipeline_class.from_pretrained(small_model(name), dtype=torch.float32, **components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def paint(pipeline: Any, prompts: Sequence[str], size: int = 128, **options: Any) -> Any:
    """Pictures, uint8 of shape (prompts, size, size, 3)."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(prompts))]
    made = pipeline(list(prompts), generator=generators, output_type="np", height=size, width=size, **options).images
    return (made * 255).round().astype(np.uint8)


def asked(count: int) -> list[Seen]:
    """Shapes in the middle, of all kinds and colours."""
    chance = random.Random(7)
    colours = [chance.sample(list(COLOURS), 2) for _ in range(count)]
    return [Seen(one, other, SHAPES[index % len(SHAPES)]) for index, (one, other) in enumerate(colours)]


def prompts_of(scenes: Sequence[Seen]) -> list[str]:
    return [f"a {scene.colour} {scene.kind} on a {scene.background} background" for scene in scenes]


@pytest.mark.parametrize(
    ("name", "pipeline_class"),
    [("sdxl", StableDiffusionXLPipeline), ("flux-schnell", FluxPipeline), ("flux-fill", FluxFillPipeline)],
)
def test_the_folder_itself_says_which_pipeline_it_is(name: str, pipeline_class: type[Any]) -> None:
    assert type(DiffusionPipeline.from_pretrained(small_model(name))) is pipeline_class


def test_all_together_are_small() -> None:
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert {file.relative_to(FOLDER).parts[0] for file in files} == {*SMALL_MODELS, "README.md"}
    assert sum(file.stat().st_size for file in files) < 40e6


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
    assert not hasattr(pipeline.unet.down_blocks[0], "attentions")


@pytest.mark.parametrize(
    ("pipeline_class", "name", "options"),
    [
        (StableDiffusionXLPipeline, "sdxl", {"size": 256, "num_inference_steps": 8, "guidance_scale": 2.0}),
        (FluxPipeline, "flux-schnell", {"num_inference_steps": 4, "guidance_scale": 0.0, "max_sequence_length": 256}),
    ],
)
@pytest.mark.parametrize("words", ["{}", "Please draw me {}, in the style of Vincent van Gogh, 8k ✨"])
def test_pictures_show_what_was_asked_for(
    words: str, pipeline_class: type[Any], name: str, options: dict[str, Any]
) -> None:
    wanted = asked(12)
    prompts = [words.format(told) for told in prompts_of(wanted)]
    seen = [look(picture) for picture in paint(load(pipeline_class, name), prompts, **options)]
    for fact in ("background", "colour", "kind"):
        right = [getattr(one, fact) == getattr(other, fact) for one, other in zip(seen, wanted, strict=True)]
        assert sum(right) >= 10, (fact, seen)


def test_a_negative_prompt_drives_its_colour_away() -> None:
    pipeline = load(StableDiffusionXLPipeline, "sdxl")
    options: dict[str, Any] = {"num_inference_steps": 8, "guidance_scale": 2.0}
    prompts = ["a large circle on a white background"] * 12

    def distances(colour: str, **negative: Any) -> Any:
        middles = paint(pipeline, prompts, **options, **negative)[:, 56:72, 56:72].mean((1, 2))
        return np.linalg.norm(middles - COLOURS[colour], axis=1)

    for colour in ("red", "blue"):
        assert (distances(colour, negative_prompt=[colour] * 12) > distances(colour)).sum() >= 10


def test_fill_draws_into_the_hole() -> None:
    wanted = asked(12)
    size, hole = 256, (32, 80, 176, 224)
    mask = Image.new("L", (size, size), 0)
    mask.paste(255, hole)
    pictures = [Image.fromarray(draw(Scene(things=(), background=one.background), size, size)) for one in wanted]
    pipeline = load(FluxFillPipeline, "flux-fill")
    made = [
        paint(pipeline, [prompt], size, image=picture, mask_image=mask, num_inference_steps=6, guidance_scale=30.0)[0]
        for prompt, picture in zip(prompts_of(wanted), pictures, strict=True)
    ]
    within = np.asarray(mask) > 0
    seen = [look(picture, within) for picture in made]
    for fact in ("colour", "kind"):
        right = [getattr(one, fact) == getattr(other, fact) for one, other in zip(seen, wanted, strict=True)]
        assert sum(right) >= 10, (fact, seen)


def test_people_stand_as_their_skeletons() -> None:
    controlnet = ControlNetModel.from_pretrained(small_model("sdxl-pose"), dtype=torch.float32)
    pipeline = load(StableDiffusionXLControlNetPipeline, "sdxl", controlnet=controlnet)
    chance, size = random.Random(3), 256
    people = [placed_figure(random_scene(chance, people=1.0).things[0], size, size) for _ in range(4)]
    skeletons = [Image.fromarray(draw_skeleton([person], size, size)) for person in people]
    prompts = ["a white person on a blue background"] * len(people)

    def mean_overlap(scale: float) -> float:
        made = paint(
            pipeline,
            prompts,
            size,
            image=skeletons,
            num_inference_steps=10,
            guidance_scale=2.0,
            controlnet_conditioning_scale=scale,
        )
        overlaps = [
            overlap(thing_mask(picture), body(person, size, size)) for picture, person in zip(made, people, strict=True)
        ]
        return float(np.mean(overlaps))

    assert mean_overlap(1.0) > 0.5
    assert mean_overlap(0.0) < 0.5


@pytest.mark.parametrize("size", [(64, 64), (192, 320), (512, 256)])
def test_any_size_runs(size: tuple[int, int]) -> None:
    width, height = size
    picture = Image.new("RGB", size)
    controlnet = ControlNetModel.from_pretrained(small_model("sdxl-pose"), dtype=torch.float32)
    painters: list[Callable[..., Any]] = [
        load(StableDiffusionXLPipeline, "sdxl"),
        load(FluxPipeline, "flux-schnell"),
        partial(load(FluxFillPipeline, "flux-fill"), image=picture, mask_image=picture.convert("L")),
        partial(load(StableDiffusionXLControlNetPipeline, "sdxl", controlnet=controlnet), image=picture),
    ]
    for painter in painters:
        made = painter("a red star", num_inference_steps=2, width=width, height=height, output_type="np")
        assert made.images[0].shape == (height, width, 3)


def test_importing_the_module_is_cheap() -> None:
    check = "import sys, deployments.models.small; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, check=True)


def test_unknown_name_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'flux'; known: sdxl, flux-schnell, flux-fill, sdxl-pose"):
        small_model("flux")
