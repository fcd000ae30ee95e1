"""The commands of training/README.md up to the export, on next to nothing: each gives the next what it needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from deployments.models.small import FOLDER
from training import export, flux, holes, other_words, pose, sdxl, text, vae
from training.data import trained_text_encoder
from training.sizes import PICTURE_SIZES

COMMANDS: list[tuple[Callable[[], None], list[str]]] = [
    (vae.main, ["4"]),
    (vae.main, ["4", "--whole"]),
    (vae.main, ["16"]),
    (vae.main, ["16", "--whole"]),
    *((text.main, [name]) for name in text.NAMES),
    *((other_words.main, [name]) for name in text.NAMES),
    (sdxl.main, []),
    (pose.main, []),
    (flux.main, ["schnell"]),
    (flux.main, ["fill"]),
]


def layout(folder: Path) -> dict[str, object]:
    """The names and shapes of all tensors below, and what all configurations say."""
    found: dict[str, object] = {}
    for file in sorted(folder.rglob("*.*")):
        name = str(file.relative_to(folder))
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as opened:
                found[name] = {key: opened.get_slice(key).get_shape() for key in opened.keys()}  # noqa: SIM118
        elif file.suffix == ".json":
            told = json.loads(file.read_text())
            found[name] = {key: told[key] for key in told if key not in ("_diffusers_version", "transformers_version")}
    return found


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Trainings set torch's threads and seeds."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


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
    for name in text.NAMES:  # what was learned last is what counts
        last, first = (trained_text_encoder(name, ignores_other_words=is_last)[1] for is_last in (True, False))
        assert any((one != other).any() for one, other in zip(last.parameters(), first.parameters(), strict=True))
    assert layout(tmp_path / "weights") == layout(FOLDER)
