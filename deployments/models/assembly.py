"""From configuration to a model: the class of its family around the pipeline that was loaded for it.

Importing this module costs nothing; torch and diffusers come with the first model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deployments.models.registry import FAMILIES

if TYPE_CHECKING:
    from config.schema import ModelConfig
    from deployments.models.protocol import DiffusionModel


def load_model(config: ModelConfig) -> DiffusionModel:
    """The model of `config`, loaded; imports torch and diffusers. Raises what `loading.load_pipeline` does."""
    from deployments.models.loading import load_pipeline

    module, _, name = FAMILIES[config.family].factory.partition(":")
    model_class: type[DiffusionModel] = getattr(importlib.import_module(module), name)
    options: dict[str, Any] = {}
    if (share := config.acceleration.lossy_guidance_cutoff) is not None:  # only of families that take it
        options["guided_share"] = share
    return model_class(load_pipeline(model_class.pipeline_class, config), **options)
