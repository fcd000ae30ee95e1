"""FLUX.1 schnell: text-to-image in a few steps, without guidance.

FLUX has no text mask, so the length of the text is part of the picture: it is fixed at schnell's 256 tokens, and all
requests of one size can share a forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import FluxPipeline

from deployments.engine.collate import MergeRules
from deployments.engine.shared_module import share
from deployments.models.loading import load_pipeline
from deployments.models.merging import AUTOENCODER_METHODS, TEXT_ENCODER_METHODS
from deployments.models.steps import step_reporter

if TYPE_CHECKING:
    from torch import Tensor

    from config.schema import ModelConfig
    from deployments.models.protocol import GenerationInputs
    from deployments.types import StepCallback

# Positions have no rows: those of the picture depend on its width and height, which may differ at equal length.
TRANSFORMER_METHODS = {"forward": MergeRules(shared=frozenset({"txt_ids", "img_ids"}))}
TEXT_TOKENS = 256


class FluxSchnell:
    """One loaded schnell; see deployments.models.protocol.DiffusionModel."""

    def __init__(self, config: ModelConfig) -> None:
        pipeline = load_pipeline(FluxPipeline, config)
        self._scheduler = pipeline.scheduler
        self._components = pipeline.components | {
            "transformer": share(pipeline.transformer, "transformer", TRANSFORMER_METHODS, denoises=True),
            "text_encoder": share(pipeline.text_encoder, "text_encoder", TEXT_ENCODER_METHODS),
            "text_encoder_2": share(pipeline.text_encoder_2, "text_encoder_2", TEXT_ENCODER_METHODS),
            "vae": share(pipeline.vae, "vae", AUTOENCODER_METHODS),
        }

    def generate(self, inputs: GenerationInputs, on_step: StepCallback) -> Tensor:
        """See the protocol. Negative prompt, guidance and scheduler have no meaning for schnell."""
        on_step(0, inputs.steps)
        scheduler = type(self._scheduler).from_config(self._scheduler.config)
        pipeline: Any = FluxPipeline(**self._components | {"scheduler": scheduler})
        pipeline.set_progress_bar_config(disable=True)
        output = pipeline(
            inputs.prompt,
            width=inputs.width,
            height=inputs.height,
            num_inference_steps=inputs.steps,
            guidance_scale=0.0,
            max_sequence_length=TEXT_TOKENS,
            generator=torch.Generator("cpu").manual_seed(inputs.seed),
            output_type="pt",
            callback_on_step_end=step_reporter(on_step),
        )
        picture: Tensor = output.images
        return picture
