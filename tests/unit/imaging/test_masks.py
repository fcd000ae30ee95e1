"""What is repainted: 255; what is kept: 0. The rules are those of the HTTP contract."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deployments.errors import InvalidRequest
from deployments.imaging.masks import mask_of

SIZE = (3, 1)
OPAQUE = Image.new("RGB", SIZE, "red")


def with_alpha(*alpha: int, colour: int = 0) -> Image.Image:
    return Image.fromarray(np.array([[(colour, colour, colour, value) for value in alpha]], np.uint8))


def values(mask: Image.Image | None) -> list[int]:
    assert mask is not None
    assert (mask.mode, mask.size) == ("L", SIZE)
    return [int(value) for value in np.asarray(mask).ravel()]


@pytest.mark.parametrize("colour", [0, 255])
def test_transparent_is_repainted_whatever_the_colour(colour: int) -> None:
    assert values(mask_of(OPAQUE, with_alpha(0, 255, 55, colour=colour))) == [255, 0, 200]


def test_white_is_repainted_where_the_mask_has_no_transparency() -> None:
    grey = np.array([[0, 255, 128]], np.uint8)
    assert values(mask_of(OPAQUE, Image.fromarray(np.stack([grey] * 3, axis=-1)))) == [0, 255, 128]
    assert values(mask_of(OPAQUE, Image.fromarray(grey))) == [0, 255, 128]


class TestReadByItsWhite:
    """As Nebula Block and others mean masks."""

    @pytest.mark.parametrize("mask", [Image.new("L", SIZE, 255), with_alpha(255, 255, 255, colour=255)])
    def test_white_is_repainted(self, mask: Image.Image) -> None:
        assert values(mask_of(OPAQUE, mask, "white")) == [255, 255, 255]

    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_grey_is_repainted_in_part(self, mode: str) -> None:
        mask = Image.fromarray(np.array([[0, 255, 128]], np.uint8)).convert(mode)
        assert values(mask_of(OPAQUE, mask, "white")) == [0, 255, 128]

    def test_what_is_transparent_is_kept(self) -> None:
        assert values(mask_of(OPAQUE, with_alpha(0, 255, 128, colour=255), "white")) == [0, 255, 128]
        assert values(mask_of(OPAQUE, with_alpha(0, 255, 128, colour=0), "white")) == [0, 0, 0]

    def test_without_a_mask_the_transparent_part_of_the_image_is_repainted(self) -> None:
        assert values(mask_of(with_alpha(255, 0, 255), None, "white")) == [0, 255, 0]
        assert mask_of(OPAQUE, None, "white") is None

    def test_of_another_size_is_refused(self) -> None:
        with pytest.raises(InvalidRequest, match="as large as the image"):
            mask_of(OPAQUE, Image.new("L", (1, 3)), "white")


def test_the_transparent_part_of_the_image_is_repainted_where_there_is_no_mask() -> None:
    assert values(mask_of(with_alpha(255, 0, 255), None)) == [0, 255, 0]


def test_a_mask_counts_and_not_the_transparency_of_the_image() -> None:
    assert values(mask_of(with_alpha(0, 0, 0), with_alpha(255, 255, 0))) == [0, 0, 255]


def test_without_mask_and_transparency_the_whole_picture_is_changed() -> None:
    assert mask_of(OPAQUE, None) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 3), (3, 2), (2, 1), (300, 100)])
def test_other_sizes_are_refused_and_both_are_named(mode: str, size: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        mask_of(OPAQUE, Image.new(mode, size))
    assert refused.value.param == "mask"
    assert "3x1" in refused.value.message
    assert f"{size[0]}x{size[1]}" in refused.value.message


def test_the_pictures_given_stay_as_they_are() -> None:
    image, mask = with_alpha(255, 0, 255), with_alpha(0, 255, 0)
    before = image.tobytes(), mask.tobytes()
    mask_of(image, mask)
    mask_of(image, None)
    assert (image.tobytes(), mask.tobytes()) == before


@st.composite
def pictures(draw: st.DrawFn) -> Image.Image:
    """Any small picture of the modes that decoding leaves."""
    mode, channels = draw(st.sampled_from([("L", 1), ("RGB", 3), ("RGBA", 4)]))
    width, height = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    size = width * height * channels
    return Image.frombytes(mode, (width, height), draw(st.binary(min_size=size, max_size=size)))


@given(pictures(), pictures() | st.none(), st.sampled_from(["alpha", "white"]))
def test_of_any_pictures_it_is_a_mask_of_the_images_size_or_none_or_refused(
    image: Image.Image, mask: Image.Image | None, reading: Literal["alpha", "white"]
) -> None:
    try:
        made = mask_of(image, mask, reading)
    except InvalidRequest:
        assert mask is not None
        assert mask.size != image.size
        return
    assert mask is None or mask.size == image.size
    if made is None:
        assert mask is None
        assert image.mode != "RGBA" or np.asarray(image)[..., 3].min() > 128
        return
    assert (made.mode, made.size) == ("L", image.size)
    source = image if mask is None else mask
    repainted, pixels = np.asarray(made), np.asarray(source)
    if source.mode == "RGBA" and (mask is None or reading == "alpha"):
        assert np.array_equal(repainted, 255 - pixels[..., 3])
    elif source.mode == "RGBA":
        assert not repainted[pixels[..., 3] == 0].any()
    else:
        assert np.array_equal(repainted, np.asarray(source.convert("L")))
