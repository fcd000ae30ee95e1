"""What a model paints on, and what of it leaves."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deployments.imaging.canvas import canvas_of


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def mask_with(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, box)
    return mask


@pytest.mark.parametrize(("width", "height", "worked_on"), [(64, 32, (64, 32)), (61, 33, (64, 40)), (1, 8, (8, 8))])
def test_a_picture_of_the_size_asked_for_is_kept_bit_for_bit(
    width: int, height: int, worked_on: tuple[int, int]
) -> None:
    picture, mask = noise(width, height), mask_with(width, height, (0, 0, width // 2, height))
    canvas = canvas_of(picture, mask, width, height, multiple=8)
    assert canvas.mask is not None
    assert canvas.picture.size == canvas.mask.size == worked_on
    finished = np.asarray(canvas.finish(Image.new("RGB", worked_on, "lime")))
    expected = np.asarray(picture).copy()
    expected[:, : width // 2] = (0, 255, 0)
    assert np.array_equal(finished, expected)


def test_a_grey_mask_blends() -> None:
    canvas = canvas_of(Image.new("RGB", (8, 8), "black"), Image.new("L", (8, 8), 128), 8, 8, multiple=8)
    assert canvas.finish(Image.new("RGB", (8, 8), "white")).getpixel((4, 4)) == (128, 128, 128)


def test_sides_are_rounded_up_by_repeating_the_last_pixels() -> None:
    picture = noise(13, 16)
    canvas = canvas_of(picture, None, 13, 16, multiple=16)
    pixels = np.asarray(canvas.picture)
    assert pixels.shape == (16, 16, 3)
    assert np.array_equal(pixels[:, :13], np.asarray(picture))
    assert (pixels[:, 13:] == pixels[:, 12:13]).all()
    assert canvas.finish(canvas.picture).size == (13, 16)


def test_with_a_mask_the_whole_picture_is_fitted_inside_and_the_rest_painted() -> None:
    picture = Image.new("RGB", (32, 32), "red")
    picture.paste("blue", (16, 0, 32, 32))
    canvas = canvas_of(picture, mask_with(32, 32, (0, 0, 8, 8)), 128, 64, multiple=8)
    assert canvas.mask is not None
    painted = np.zeros((64, 128), np.uint8)
    painted[:, :32] = painted[:, 96:] = painted[:16, 32:48] = 255
    assert np.array_equal(np.asarray(canvas.mask), painted)
    finished = canvas.finish(Image.new("RGB", (128, 64), "lime"))
    assert finished.getpixel((52, 60)) == (255, 0, 0)
    assert finished.getpixel((80, 60)) == (0, 0, 255)
    assert finished.getpixel((20, 60)) == finished.getpixel((40, 4)) == (0, 255, 0)


def test_beyond_the_picture_its_border_goes_on() -> None:
    canvas = canvas_of(Image.new("RGB", (32, 64), "red"), Image.new("L", (32, 64)), 64, 64, multiple=8)
    assert canvas.picture.getcolors() == [(64 * 64, (255, 0, 0))]


def test_nearly_the_same_shape_is_not_bordered_by_slivers() -> None:
    canvas = canvas_of(noise(1000, 998), Image.new("L", (1000, 998)), 512, 512, multiple=8)
    assert canvas.mask is not None
    assert canvas.mask.getextrema() == (0, 0)


def test_without_a_mask_another_shape_is_cropped_around_the_centre() -> None:
    picture = Image.new("RGB", (96, 32), "red")
    picture.paste("blue", (32, 0, 64, 32))
    canvas = canvas_of(picture, None, 64, 64, multiple=8)
    assert canvas.mask is None
    assert np.asarray(canvas.picture).reshape(-1, 3)[:, 0].max() < 128  # the red sides are gone


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    assert canvas_of(noise(16, 16, mode), None, 16, 16, multiple=8).picture.mode == "RGB"
