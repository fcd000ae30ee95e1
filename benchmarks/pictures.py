"""The same pictures made by diffusers itself, as one batch, and through the engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import ControlNetModel
from PIL import Image
from torch import nn

from deployments.engine.engine import DiffusionEngine, EngineLimits
from deployments.engine.memory import memory_of
from deployments.engine.workload import Workload
from deployments.models.flux import Flux, FluxSchnell
from deployments.models.flux_fill import FluxFill
from deployments.models.protocol import DiffusionModel, GenerationInputs
from deployments.models.sdxl import StableDiffusionXL
from deployments.models.sdxl_pose import StableDiffusionXLPose
from deployments.models.small import small_model

MODELS: dict[str, type[DiffusionModel]] = {
    "sdxl": StableDiffusionXL,
    "sdxl-pose": StableDiffusionXLPose,
    "flux-schnell": FluxSchnell,
    "flux-fill": FluxFill,
}

_numbers = itertools.count()  # no two requests are alike: some of those would be made once

Painter = Callable[[Sequence[GenerationInputs]], None]


def small(family: str, device: torch.device) -> Any:
    """The small pipeline of that family, as `full_size.build` makes the full one."""
    is_pose = family == "sdxl-pose"
    parts: dict[str, Any] = {}
    if is_pose:
        parts["controlnet"] = ControlNetModel.from_pretrained(small_model(family), dtype=torch.float32)
    pipeline: Any = MODELS[family].pipeline_class.from_pretrained(
        small_model("sdxl" if is_pose else family), dtype=torch.float32, **parts
    )
    pipeline.vae.register_to_config(force_upcast=False)
    pipeline.set_progress_bar_config(disable=True)
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval().requires_grad_(False)
    return pipeline.to(device)


def inputs(family: str, size: int, steps: int, count: int) -> list[GenerationInputs]:
    """New requests for `count` pictures that can share every forward. Those of SDXL are guided: two rows each."""
    picture = Image.effect_noise((size, size), 64).convert("RGB")
    return [
        GenerationInputs(
            prompt=f"a red circle on a blue background {number}",
            negative_prompt="blurry",
            width=size,
            height=size,
            seed=number,
            steps=steps,
            guidance_scale=8.0,
            scheduler="default",
            image=picture if family == "flux-fill" else None,
            mask=Image.new("L", (size, size), 255) if family == "flux-fill" else None,
            skeleton=picture if family == "sdxl-pose" else None,
        )
        for number in itertools.islice(_numbers, count)
    ]


def diffusers_batch(pipeline: Any, family: str) -> Painter:
    """One call of the pipeline with a list of prompts; the requests must be alike in all but prompt and seed."""
    model_class = MODELS[family]

    def paint(asked: Sequence[GenerationInputs]) -> None:
        first = asked[0]
        arguments: dict[str, Any] = {}
        if issubclass(model_class, Flux):
            arguments["max_sequence_length"] = model_class.text_tokens
        else:
            arguments["negative_prompt"] = [one.negative_prompt for one in asked]
        if first.image is not None:
            arguments |= {"image": [one.image for one in asked], "mask_image": [one.mask for one in asked]}
        if first.skeleton is not None:
            arguments["image"] = [one.skeleton for one in asked]
        pipeline(
            [one.prompt for one in asked],
            width=first.width,
            height=first.height,
            num_inference_steps=first.steps,
            guidance_scale=first.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(one.seed) for one in asked],
            output_type="pt",
            **arguments,
        )

    return paint


@contextmanager
def engine_batches(pipeline: Any, family: str, limits: EngineLimits) -> Iterator[Painter]:
    """All requests at once to an engine, which merges as it does in service."""
    model, engine = MODELS[family](pipeline), DiffusionEngine(limits, memory_of(pipeline.device))
    engine.start()

    def paint(asked: Sequence[GenerationInputs]) -> None:
        jobs = [
            engine.submit(
                lambda one=one: model.generate(one, lambda _done, _steps, _preview: None),  # type: ignore[misc]
                Workload(kind=family, pixels=one.width * one.height, steps=one.steps),
            )
            for one in asked
        ]
        for job in jobs:
            job.future.result()

    try:
        yield paint
    finally:
        engine.stop()
