"""Pixels to bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import skimage.data
from PIL import Image

from deployments.imaging.decode import decode
from deployments.imaging.encode import encode
from deployments.types import OutputFormat

FORMATS: list[OutputFormat] = ["png", "jpeg", "webp"]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A gradient with some noise, 40 high and 60 wide, as compressible as a photograph."""
    down, across = np.mgrid[0:40, 0:60]
    smooth = np.stack([down * 6, across * 4, down + across], axis=-1)
    return (smooth + np.random.default_rng(0).integers(0, 16, smooth.shape)).astype(np.uint8)


@pytest.mark.parametrize("form", FORMATS)
def test_the_bytes_are_of_the_format_asked_for(form: OutputFormat, picture: np.ndarray) -> None:
    with Image.open(io.BytesIO(encode(picture, form, 90))) as image:
        assert (image.format, image.mode, image.size) == (form.upper(), "RGB", (60, 40))


@pytest.mark.parametrize("compression", [0, 100])
def test_png_keeps_every_pixel(picture: np.ndarray, compression: int) -> None:
    assert np.array_equal(np.asarray(decode(encode(picture, "png", compression), param="image")), picture)


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_the_best_quality_is_near_to_the_pixels(form: OutputFormat, picture: np.ndarray) -> None:
    decoded = np.asarray(decode(encode(picture, form, 100), param="image")).astype(int)
    assert np.abs(decoded - picture).mean() < 6


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_pixels_make_the_same_bytes(form: OutputFormat, picture: np.ndarray) -> None:
    assert encode(picture, form, 80) == encode(picture.copy(), form, 80)


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_compression_matters(form: OutputFormat, picture: np.ndarray) -> None:
    sizes = [len(encode(picture, form, compression)) for compression in (0, 40, 80, 100)]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] > 2 * sizes[0]


def test_compression_does_not_matter_to_png(picture: np.ndarray) -> None:
    assert len({encode(picture, "png", compression) for compression in (0, 9, 55, 100)}) == 1


def test_png_of_a_photo_is_as_small_as_zlib_makes_it_by_default() -> None:
    photo, usual = skimage.data.astronaut(), io.BytesIO()
    Image.fromarray(photo).save(usual, "PNG")
    assert len(encode(photo, "png", 100)) < 1.01 * len(usual.getvalue())


@pytest.mark.parametrize("form", FORMATS)
def test_no_metadata_is_written(form: OutputFormat, picture: np.ndarray) -> None:
    data = encode(picture, form, 90)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert dict(image.getexif()) == {}
        assert {"exif", "xmp", "icc_profile", "comment", "dpi", "Software"}.isdisjoint(image.info)
    if form == "png":
        assert [kind for kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME", b"iCCP") if kind in data] == []
    if form == "webp":
        assert data[12:16] == b"VP8 "  # the simple layout, which has no room for any
