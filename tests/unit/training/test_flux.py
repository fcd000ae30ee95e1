"""Fill begins as schnell, and both take what their pipelines give them."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import FluxFillPipeline
from torch import Tensor

from training.architectures import flux_transformer
from training.flux import begin_as
from training.holes import BLANK, TOKEN, any_move, holed, mask_channels, moved, pack, random_holed
from training.sizes import PICTURE_SIZES, Size
from training.world import PERSON, coverage, draw, is_held_out


def output(fills: bool, hidden: Tensor) -> Tensor:
    """Of a transformer with the weights of one schnell."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        schnell = flux_transformer(fills=False)
        model = flux_transformer(fills=True) if fills else schnell
        if fills:
            begin_as(model, schnell)
        given: Tensor = model(
            hidden_states=hidden,
            encoder_hidden_states=torch.ones(1, 5, 64),
            pooled_projections=torch.ones(1, 64),
            timestep=torch.tensor([0.5]),
            guidance=torch.tensor([30.0]) if fills else None,
            txt_ids=torch.zeros(5, 3),
            img_ids=FluxFillPipeline._prepare_latent_image_ids(1, 2, 2, "cpu", torch.float32),
            return_dict=False,
        )[0]
    return given


def test_fill_begins_as_schnell_whatever_it_is_given() -> None:
    latents, hole = torch.randn(1, 4, 64), torch.randn(1, 4, 64 + 256)
    assert torch.allclose(output(True, torch.cat([latents, hole], dim=2)), output(False, latents), atol=1e-5)
    assert not torch.allclose(output(False, latents), output(False, latents + 1), atol=1e-2)


def test_masks_are_packed_as_the_pipeline_packs_them() -> None:
    pipeline = SimpleNamespace(
        vae_scale_factor=8,
        vae=SimpleNamespace(config=SimpleNamespace(shift_factor=0.0, scaling_factor=1.0)),
        _pack_latents=FluxFillPipeline._pack_latents,
    )
    mask, latents = torch.rand(1, 1, 32, 48).round(), torch.zeros(1, 16, 4, 6)
    packed, _ = FluxFillPipeline.prepare_mask_latents(
        pipeline, mask, latents, 1, 16, 1, 32, 48, torch.float32, "cpu", None
    )
    assert torch.equal(pack(mask_channels(mask[:, 0])), packed)


def test_the_named_thing_fills_the_hole_and_nothing_else_changes() -> None:
    chance = random.Random(0)
    for _ in range(60):
        one = random_holed(chance)
        before, after, mask = draw(one.before, 128, 96), draw(one.after, 128, 96), one.mask(128, 96) > 0
        if one.hole != (0, 0, 1, 1):
            assert np.array_equal(before[~mask], after[~mask])
            assert 0.1 < mask.mean() < 0.8
        for thing in one.after.things[len(one.before.things) :]:
            if thing.kind != PERSON:
                assert coverage(thing, 128, 96)[mask].sum() > 0.99 * coverage(thing, 128, 96).sum()


def test_beside_many_holes_is_another_thing_and_nothing_held_out_is_trained_on() -> None:
    found = holed(300, seed=0)
    beside = [one.before for one in found if one.before.things]
    assert 0.15 < len(beside) / len(found) < 0.6
    assert not any(is_held_out(scene) for one in found for scene in (one.told.scene, one.before))


def test_around_some_holes_is_nothing_of_the_world() -> None:
    chance = random.Random(0)
    strange = [one for one in (random_holed(chance) for _ in range(120)) if one.strange is not None]
    assert 6 < len(strange) < 40
    for one in strange:
        mask, given, whole = (
            one.mask(128, 96) > 0,
            one.picture(128, 96, is_given=True),
            one.picture(128, 96, is_given=False),
        )
        assert np.array_equal(whole[mask], draw(one.after, 128, 96)[mask])
        assert np.array_equal(whole[~mask], given[~mask])
        assert not np.array_equal(whole[~mask], draw(one.after, 128, 96)[~mask])
        assert (given[mask] == BLANK).all()


@pytest.mark.parametrize("size", PICTURE_SIZES, ids=str)
def test_a_hole_is_moved_within_its_picture(size: Size) -> None:
    chance = random.Random(0)
    seen = set()
    for _ in range(100):
        one = random_holed(chance)
        mask = torch.from_numpy(one.mask(size.width, size.height).copy())[None].float()
        move = any_move(one, size)
        after = moved(mask, [move], TOKEN)
        if not one.is_round:  # in one piece: nothing of it has come in at the other side
            rows, columns = (np.flatnonzero(after[0].any(axis).numpy()) for axis in (1, 0))
            assert (after > 0).sum() == len(rows) * len(columns)
            assert (np.diff(rows) == 1).all()
            assert (np.diff(columns) == 1).all()
        latents = F.max_pool2d(mask[:, None], 8)
        assert torch.equal(moved(latents, [move], TOKEN // 8), F.max_pool2d(after[:, None], 8))
        seen.add(move)
    assert len(seen) > 10
