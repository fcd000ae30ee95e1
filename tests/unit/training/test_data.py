"""What counts in a loss is things, where they are; and latents are kept for as long as they are right."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.architectures import vae
from training.data import BESIDE_THINGS, importance, kept_latents
from training.sizes import SMALL, Size
from training.world import coverage, random_scene


def test_all_of_a_thing_counts_and_what_is_beside_it_little() -> None:
    scenes = [random_scene(random.Random(seed), people=0) for seed in range(20)]
    counts = importance(scenes, Size(256, 192, batch=1, share=1))
    assert counts.shape == (20, 1, 24, 32)
    for scene, found in zip(scenes, counts[:, 0], strict=True):
        covered = sum(torch.from_numpy(coverage(thing, 256, 192)) for thing in scene.things)
        assert isinstance(covered, torch.Tensor)
        cells = covered.view(24, 8, 32, 8).mean((1, 3))
        assert (found[cells > 0.1] == 1).all()
        assert found.unique().tolist() == pytest.approx([BESIDE_THINGS, 1])
        assert (found < 1).float().mean() > 0.1


def test_it_is_the_same_for_things_of_one_place_and_size() -> None:
    scene = random_scene(random.Random(1), people=0)
    others = [replace(scene, things=(replace(scene.things[0], kind=kind),)) for kind in ("circle", "star")]
    one, other = importance(others, SMALL)
    assert torch.equal(one, other)


def test_latents_are_made_again_for_other_scenes_and_for_another_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EASEL_TRAINING", str(tmp_path))
    made: list[int] = []

    def drawn(shade: int) -> np.ndarray:
        made.append(shade)
        return np.full((16, 24, 3), shade, np.uint8)

    encoder = vae(4).eval()
    first = kept_latents("shades", [1, 2], drawn, encoder)
    assert first.shape == (2, 4, 2, 3)
    assert torch.equal(kept_latents("shades", [1, 2], drawn, encoder), first)
    assert made == [1, 2]
    kept_latents("shades", [1, 3], drawn, encoder)
    assert made == [1, 2, 1, 3]
    for part in (encoder.encoder.conv_in, encoder.quant_conv):
        with torch.no_grad():
            part.bias += 1
        assert not torch.equal(kept_latents("shades", [1, 2], drawn, encoder), first)
