"""From configuration to a pipeline ready to run: the one way in for hub repositories, local folders and small models.

Invariants of what comes out: weights come from safetensors files only; every module is on the device, in the configured
dtype, in evaluation mode and without gradients; no pipeline will cast the VAE, which many requests share. `HF_HOME`,
`HF_TOKEN` and `HF_HUB_OFFLINE` work as everywhere, because huggingface_hub reads them.
"""

from __future__ import annotations

import inspect
import logging
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

import diffusers.utils.logging
import huggingface_hub.utils
import torch
import transformers.utils.logging
from diffusers import AutoencoderKL, DiffusionPipeline
from safetensors import SafetensorError

from config.schema import ModelConfig, Weights
from deployments.models.small import small_model

Pipeline = TypeVar("Pipeline", bound=DiffusionPipeline)

logger = logging.getLogger(__name__)


class ModelLoadError(RuntimeError):
    """Weights cannot be found, fetched or read; the message names their source and what to do about it."""


def load_pipeline(pipeline_class: type[Pipeline], config: ModelConfig) -> Pipeline:
    """The pipeline of `config`, ready to be called.

    Raises ModelLoadError if weights cannot be had, ValueError if the configuration cannot work.
    """
    _hide_progress_bars_unless_watched()
    started = time.monotonic()
    logger.info("Loading %s from %s", pipeline_class.__name__, config.weights.source)
    dtype = getattr(torch, config.dtype)
    components: dict[str, Any] = {}
    if config.vae is not None:
        components["vae"] = _from_pretrained(AutoencoderKL, config.vae, dtype=dtype)
    elif config.dtype == "float16":
        _require_vae_that_fits_float16(config.weights)
    if "add_watermarker" in inspect.signature(pipeline_class).parameters:
        components["add_watermarker"] = False
    pipeline = _from_pretrained(pipeline_class, config.weights, dtype=dtype, **components)
    # Else pipelines would cast it to float32 and back around each call, under the feet of other requests.
    pipeline.vae.register_to_config(force_upcast=False)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
    pipeline.to(_device(config.device))
    pipeline.set_progress_bar_config(disable=True)
    logger.info("Loaded %s in %.1f s", config.weights.source, time.monotonic() - started)
    return pipeline


def resolve_source(weights: Weights) -> str:
    """What `from_pretrained` takes: a folder that exists, or the name of a hub repository.

    Builds the small model of `small:<name>` if it is missing. Raises ModelLoadError for a folder that does not exist.
    """
    if weights.source.startswith("small:"):
        return str(small_model(weights.source.removeprefix("small:")))
    folder = Path(weights.source).expanduser()
    if folder.is_dir():
        return str(folder)
    if weights.revision is None:  # a repository always has one: the schema sees to it
        raise ModelLoadError(f"'{weights.source}' is not a folder; give the path of one, or 'owner/name' of a repository")
    return weights.source
