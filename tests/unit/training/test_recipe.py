"""The commands of training/README.md, in their order, on next to nothing: each gives the next what it needs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from deployments.models.small import FOLDER, SMALL_MODELS
from training import export, flux, holes, pose, sdxl, text, vae
from training.sizes import PICTURE_SIZES

COMMANDS: list[tuple[Callable[[], None], list[str]]] = [
    (vae.main, ["4"]),
    (vae.main, ["4", "--whole"]),
    (vae.main, ["16"]),
    (vae.main, ["16", "--whole"]),
    *((text.main, [name]) for name in text.NAMES),
    (sdxl.main, []),
    (pose.main, []),
    (flux.main, ["schnell"]),
    (flux.main, ["fill"]),
]


def layout(folder: Path) -> dict[str, dict[str, list[int]]]:
    """The shape of each tensor below."""
    found = {}
    for file in sorted(folder.rglob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            shapes = {key: opened.get_slice(key).get_shape() for key in opened.keys()}  # noqa: SIM118
        found[str(file.relative_to(folder))] = shapes
    return found


def test_a_step_of_each_training_in_turn_gives_models_like_those_that_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EASEL_TRAINING", str(tmp_path / "runs"))
    monkeypatch.setattr(vae, "SCENES", 8)
    for module in (sdxl, pose, flux, holes):
        monkeypatch.setattr(module, "COUNT", 12)  # of the smallest size; one of most others
    for main, arguments in COMMANDS:
        monkeypatch.setattr(sys, "argv", ["-", *arguments, "--steps", "1"])
        main()
    kept = sorted((tmp_path / "runs" / "data").iterdir())
    assert len(kept) == 5 * len(PICTURE_SIZES)
    monkeypatch.setattr(sys, "argv", ["-", str(tmp_path / "weights")])
    export.main()
    assert "left out" not in capsys.readouterr().out
    assert layout(tmp_path / "weights") == {
        name: shapes for name, shapes in layout(FOLDER).items() if name.split("/")[0] in SMALL_MODELS
    }
