"""The small models: pipelines of a few megabytes that Easel makes itself, for tests and for machines without weights.

    python -m deployments.models.small [--force] [NAME ...]

Each is a folder as `save_pretrained` writes it, so it loads as the real one does. `RECIPE_VERSION` must change with
what is built. Invariants: a folder of that name is complete, whoever built it and however many at once; importing this
module imports neither torch nor diffusers.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SMALL_MODELS = ("sdxl", "flux-schnell", "flux-fill", "sdxl-pose")
RECIPE_VERSION = "1"

logger = logging.getLogger(__name__)


def small_model(name: str, *, force: bool = False) -> Path:
    """The folder of the small model `name`, built if missing or if `force`.

    `sdxl-pose` is the folder of a `ControlNetModel`, the others are folders of pipelines. The cache is below
    `EASEL_CACHE`, else `~/.cache/easel`. Raises ValueError for an unknown name, OSError if the cache cannot be written.
    """
    if name not in SMALL_MODELS:
        raise ValueError(f"no small model '{name}'; known: {', '.join(SMALL_MODELS)}")
    folder = _folder(name)
    if force or not folder.is_dir():
        logger.info("Building the small model %s in %s", name, folder)
        _build_into(folder, name, replace=force)
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Builds the models named on the command line, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.models.small",
        description="Build the small models, a few megabytes each, without any download. Those built before are kept.",
        epilog="They are kept in $EASEL_CACHE, by default ~/.cache/easel.",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"{', '.join(SMALL_MODELS)}; default: all")
    parser.add_argument("--force", action="store_true", help="build anew what is there already")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in SMALL_MODELS:
            parser.error(f"no small model '{name}'; known: {', '.join(SMALL_MODELS)}")
    # Before the imports read them: else there are warnings of packages not needed, and bars that fill in no time.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in options.names or SMALL_MODELS:
        _build_and_tell(name, force=options.force)


def _build_and_tell(name: str, force: bool) -> None:
    if _folder(name).is_dir() and not force:
        print(f"{name}: there already, {_megabytes(_folder(name)):.1f} MB in {_folder(name)}", flush=True)
        return
    print(f"{name}: building ...", flush=True)
    started = time.monotonic()
    folder = small_model(name, force=force)
    print(f"{name}: {_megabytes(folder):.1f} MB in {time.monotonic() - started:.1f} s, in {folder}", flush=True)


def _folder(name: str) -> Path:
    root = os.environ.get("EASEL_CACHE") or "~/.cache/easel"
    return Path(root).expanduser() / "small-models" / RECIPE_VERSION / name


def _build_into(folder: Path, name: str, replace: bool) -> None:
    """Builds beside `folder` and renames, so that what has the final name is whole."""
    from deployments.models import small_pipelines  # torch and diffusers: seconds

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as scratch:
        built = Path(scratch, name)
        small_pipelines.build(name).save_pretrained(built)
        for file in built.rglob("*.safetensors"):
            file.chmod(0o644)  # saved for their owner only, but who builds need not be who serves
        if replace:
            with contextlib.suppress(FileNotFoundError):
                folder.rename(Path(scratch, "replaced"))
        try:
            built.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            # Another process was faster, and its folder is as good as ours.


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
