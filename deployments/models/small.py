"""The small models: trained pipelines of a few megabytes that come with Easel, for tests and machines without weights.

Each is a folder as `save_pretrained` writes it, so it loads as the real one does. What they draw, and how they were
made, is in their folder's README; `training` makes them. Importing this module imports neither torch nor diffusers.
"""

from __future__ import annotations

from pathlib import Path

SMALL_MODELS = ("sdxl", "flux-schnell", "flux-fill", "sdxl-pose")
FOLDER = Path(__file__).resolve().parent / "weights"


def small_model(name: str) -> Path:
    """The folder of the small model `name`: of a `ControlNetModel` for `sdxl-pose`, else of a pipeline.

    Raises ValueError for an unknown name.
    """
    if name not in SMALL_MODELS:
        raise ValueError(f"no small model '{name}'; known: {', '.join(SMALL_MODELS)}")
    return FOLDER / name
