"""Fetches what the replicas of a Serve config file would fetch, so that they can start without network.

    python -m deployments.prefetch [CONFIG]

Repositories of the hub go to its cache in `HF_HOME`, at the commits that the file names, without the files that loading
does not read; mediapipe's networks to `EASEL_CACHE`. What is there already is not fetched again, so
that after a failure the command may simply be run anew.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import snapshot_download

from config.files import ServeFile, read_or_tell
from deployments.models.registry import FAMILIES
from deployments.pose.detector import DetectorUnavailable
from deployments.pose.landmarker import landmarker_model
from deployments.pose.weights import WEIGHTS_FILES, weights_file

if TYPE_CHECKING:
    from config.schema import ModelConfig, Weights

DEFAULT = Path(__file__).resolve().parent.parent / "config" / "serve.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 2 where the file is wrong, 1 where something could not be fetched."""
    parser = argparse.ArgumentParser(prog="python -m deployments.prefetch", description=__doc__.split("\n\n")[0])
    parser.add_argument("config", nargs="?", default=str(DEFAULT), help="a Serve config file; default: serve.yaml")
    options = parser.parse_args(arguments)
    file = read_or_tell(options.config)
    if file is None:
        return 2
    try:
        prefetch(file)
    except (OSError, ValueError, DetectorUnavailable) as error:  # the hub's own are OSErrors and ValueErrors
        print(error, file=sys.stderr)
        return 1
    return 0


def prefetch(file: ServeFile) -> None:
    """Says what it fetches. Raises OSError, ValueError or DetectorUnavailable where something cannot be had."""
    for model in file.models:
        _prefetch_model(model)
    for pose in file.poses:
        if pose.weights is None:
            print(f"mediapipe: {landmarker_model()}", flush=True)
        else:
            for name in WEIGHTS_FILES[pose.detector]:
                print(f"{pose.weights.source}: {weights_file(pose.weights, name)}", flush=True)


def _prefetch_model(model: ModelConfig) -> None:
    """What `load_pipeline` reads: the pipeline but for the parts that are replaced, and these."""
    parts = {"vae": model.vae, "controlnet": model.controlnet}
    replaced = [name for name, weights in parts.items() if weights]
    if _is_repository(model.weights):
        module, _, name = FAMILIES[model.family].factory.partition(":")
        pipeline_class = getattr(importlib.import_module(module), name).pipeline_class
        folder = pipeline_class.download(
            model.weights.source,
            revision=model.weights.revision,
            variant=model.weights.variant,
            use_safetensors=True,
            **dict.fromkeys(replaced),
        )
        print(f"{model.weights.source}: {folder}", flush=True)
    for weights in parts.values():
        if weights and _is_repository(weights):
            _prefetch_part(weights)


def _prefetch_part(weights: Weights) -> None:
    """A VAE or a ControlNet, whose repositories often hold the same weights more than once."""
    name = ".".join(filter(None, ["diffusion_pytorch_model", weights.variant]))
    files = ["config.json", f"{name}.safetensors", f"{name}-*.safetensors", "*.safetensors.index*.json"]
    folder = snapshot_download(weights.source, revision=weights.revision, allow_patterns=files)
    print(f"{weights.source}: {folder}", flush=True)


def _is_repository(weights: Weights) -> bool:
    return weights.revision is not None and not Path(weights.source).expanduser().is_dir()


if __name__ == "__main__":
    sys.exit(main())
