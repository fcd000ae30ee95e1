"""From configuration to a pipeline ready to run: the one way in for hub repositories, local folders and small models.

Invariants of what comes out: weights come from safetensors files only; every module is on the device, in the configured
dtype, in evaluation mode and without gradients; no pipeline will cast the VAE, which many requests share. `HF_HOME`,
`HF_TOKEN` and `HF_HUB_OFFLINE` work as everywhere, because huggingface_hub reads them.
"""

from __future__ import annotations

import inspect
import logging
import sys
from pathlib import Path
from typing import Any, TypeVar

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers import AutoencoderKL, ControlNetModel, DiffusionPipeline
from safetensors import SafetensorError

from config.schema import ModelConfig, Weights
from deployments.models.acceleration import accelerate
from deployments.models.finite_decoding import decode_finitely
from deployments.models.small import small_model

Pipeline = TypeVar("Pipeline", bound=DiffusionPipeline)
Model = TypeVar("Model", bound=DiffusionPipeline | AutoencoderKL | ControlNetModel)

logger = logging.getLogger(__name__)


class ModelLoadError(RuntimeError):
    """Weights cannot be found, fetched or read; the message names their source and what to do about it."""


def load_pipeline(pipeline_class: type[Pipeline], config: ModelConfig) -> Pipeline:
    """The pipeline of `config`, ready to be called.

    Raises ModelLoadError if weights cannot be had, ValueError if the configuration cannot work.
    """
    _keep_libraries_quiet()
    logger.info("Loading %s from %s", pipeline_class.__name__, config.weights.source)
    dtype = getattr(torch, config.dtype)
    components: dict[str, Any] = {}
    if config.vae is not None:
        components["vae"] = _from_pretrained(AutoencoderKL, config.vae, dtype=dtype)
    elif config.dtype == "float16":
        _require_vae_that_fits_float16(config.weights)
    if config.controlnet is not None:
        components["controlnet"] = _from_pretrained(ControlNetModel, config.controlnet, dtype=dtype)
    if "add_watermarker" in inspect.signature(pipeline_class).parameters:
        components["add_watermarker"] = False
    pipeline = _from_pretrained(pipeline_class, config.weights, dtype=dtype, **components)
    # Else pipelines would cast it to float32 and back around each call, under the feet of other requests.
    pipeline.vae.register_to_config(force_upcast=False)
    decode_finitely(pipeline.vae)
    for name, component in pipeline.components.items():
        if isinstance(component, torch.nn.Module):
            _require_all_weights(component, name, getattr(config, name, None) or config.weights)
            component.eval().requires_grad_(False)
    accelerate(pipeline, config.acceleration, device_of(config.device))
    pipeline.set_progress_bar_config(disable=True)
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
        raise ModelLoadError(f"'{weights.source}' is not a folder; give one, or a hub repository as 'owner/name'")
    return weights.source


def _from_pretrained(model_class: type[Model], weights: Weights, **options: Any) -> Model:
    """`from_pretrained` of a pipeline or model class, with its many ways to fail made one."""
    source = resolve_source(weights)
    try:
        model: Model = model_class.from_pretrained(
            source, revision=weights.revision, variant=weights.variant, use_safetensors=True, **options
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise _load_error(model_class.__name__, weights, error) from error
    return model


def _require_vae_that_fits_float16(weights: Weights) -> None:
    """Raises ValueError if the model's own VAE overflows in float16. Reads its config only, not the gigabytes."""
    source = resolve_source(weights)
    try:
        vae_config = AutoencoderKL.load_config(source, subfolder="vae", revision=weights.revision)
    except (OSError, ValueError) as error:
        raise _load_error("AutoencoderKL", weights, error) from error
    if vae_config.get("force_upcast", True):  # the default of AutoencoderKL
        raise ValueError(
            f"dtype: float16 makes the VAE of '{weights.source}' overflow into black pictures; set 'vae' to one "
            "made for float16 (for SDXL: madebyollin/sdxl-vae-fp16-fix), or 'dtype' to bfloat16 or float32"
        )


def _require_all_weights(module: torch.nn.Module, name: str, weights: Weights) -> None:
    """diffusers only warns of weights that the files lack; such a parameter is left without storage."""
    lacking = [parameter for parameter, tensor in module.named_parameters() if tensor.is_meta]
    if lacking:
        raise ModelLoadError(
            f"'{weights.source}' lacks {len(lacking)} weights of {name}, as {lacking[0]}; fetch it anew"
        )


def _load_error(what: str, weights: Weights, error: Exception) -> ModelLoadError:
    if Path(resolve_source(weights)).is_dir():
        advice = "The folder must hold what 'save_pretrained' writes, with its weights as safetensors."
    else:
        advice = (
            f"Check the name and revision {weights.revision}, that it holds safetensors, that HF_TOKEN may read it, "
            "and the hub can be reached; without network, or with HF_HUB_OFFLINE, the cache in HF_HOME must have it."
        )
    return ModelLoadError(f"cannot load {what} from '{weights.source}': {str(error).rstrip('. ')}. {advice}")


def device_of(configured: str) -> torch.device:
    if configured == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(configured)


def _keep_libraries_quiet() -> None:
    """Their warnings quote prompts, which no log may hold; and in a log each update of a progress bar is a line."""
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()  # and huggingface_hub's, of downloads
