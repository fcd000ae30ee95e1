"""FLUX.1: what its models have in common, and schnell, text-to-image in a few steps without guidance.

FLUX has no text mask, so the length of the text is part of the picture: it is fixed for each model, and all requests of
one size can share a forward. Every request gets a pipeline object of its own, with its own scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers import FluxPipeline

from deployments.engine.collate import MergeRules
from deployments.engine.shared_module import share
from deployments.engine.workload import Role
from deployments.models.merging import share_surroundings
from deployments.models.pipelines import on_device
from deployments.models.previews import LatentColors, watched
from deployments.models.prompt_cache import PromptCache
from deployments.models.step_cache import memory_arguments, step_cache_uses
from deployments.models.steps import step_reporter
from deployments.models.text import flux_embeddings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from deployments.models.protocol import CacheUse, GenerationInputs, StepListener

# Positions have no rows: those of the picture depend on its width and height, which may differ at equal length.
TRANSFORMER_METHODS = {"forward": MergeRules(shared=frozenset({"txt_ids", "img_ids"}))}


class Flux:
    """One loaded FLUX model; see deployments.models.protocol.DiffusionModel. Schedulers and negative prompts have no
    meaning for it."""

    pipeline_class: ClassVar[type[Any]] = FluxPipeline
    text_tokens: ClassVar[int]  # those that T5 reads, padding and all

    def __init__(self, pipeline: Any) -> None:
        self._colors = LatentColors(pipeline.vae)
        self._prompts = PromptCache()
        self._scheduler = pipeline.scheduler
        kind: Any = self.pipeline_class
        self._pipeline = on_device(kind, pipeline._execution_device)
        self._components = pipeline.components | {
            "transformer": share(pipeline.transformer, "transformer", TRANSFORMER_METHODS, role=Role.DENOISES),
            **share_surroundings(pipeline),
        }

    def generate(self, inputs: GenerationInputs, on_step: StepListener) -> Tensor:
        """See the protocol."""
        on_step(0, inputs.steps_that_run, None)
        scheduler_class: Any = type(self._scheduler)
        if inputs.previews:
            scheduler_class = watched(scheduler_class)
        scheduler = scheduler_class.from_config(self._scheduler.config)
        pipeline = self._pipeline(**self._components | {"scheduler": scheduler})
        pipeline.set_progress_bar_config(disable=True)

        def preview(latents: Tensor) -> Tensor:
            return self._colors(
                pipeline._unpack_latents(latents, inputs.height, inputs.width, pipeline.vae_scale_factor)
            )

        output = pipeline(
            width=inputs.width,
            height=inputs.height,
            num_inference_steps=inputs.steps,
            max_sequence_length=self.text_tokens,
            generator=torch.Generator("cpu").manual_seed(inputs.seed),
            output_type="pt",
            callback_on_step_end=step_reporter(on_step, inputs.previews, preview),
            **self._prompts.get((inputs.prompt,), lambda: flux_embeddings(pipeline, inputs.prompt, self.text_tokens)),
            **memory_arguments(pipeline.transformer),
            **self._arguments(inputs),
        )
        picture: Tensor = output.images
        return picture

    def cache_uses(self) -> Mapping[str, CacheUse]:
        """See the protocol."""
        return {"prompts": self._prompts.use, **step_cache_uses(self._components["transformer"])}

    def _arguments(self, inputs: GenerationInputs) -> dict[str, Any]:
        """Those that the pipeline takes beside the common ones."""
        raise NotImplementedError


class FluxSchnell(Flux):
    """FLUX.1 schnell. Guidance has no meaning for it."""

    text_tokens = 256

    def _arguments(self, inputs: GenerationInputs) -> dict[str, Any]:
        return {"guidance_scale": 0.0}
