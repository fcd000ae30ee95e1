"""Bytes to pixels: every format, mode and orientation that is taken. Hostile bytes are in test_hostile_pictures.py."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import ExifTags, Image

from deployments.errors import ImageRejected, TooLarge
from deployments.imaging import decode as decode_module
from deployments.imaging.decode import decode, measure

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    """3x2, every pixel of another colour."""
    return Image.fromarray(np.arange(0, 180, 10, dtype=np.uint8).reshape(2, 3, 3)).convert(mode)


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    return [tuple(pixel) for pixel in np.asarray(image).reshape(image.width * image.height, -1).tolist()]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, *, bits: int = 8, colour_type: int = 2, between: bytes = b"") -> bytes:
    """A PNG made by hand; `rows` each begin with a filter byte."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + between + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_keep_every_pixel(form: str, options: dict[str, object]) -> None:
    decoded = decode(encoded(picture(), form, **options), param="image")
    assert (decoded.mode, decoded.size) == ("RGB", (3, 2))
    assert pixels(decoded) == pixels(picture())


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg(options: dict[str, object]) -> None:
    decoded = decode(encoded(Image.new("RGB", (9, 5), RED), "JPEG", quality=95, **options), param="image")
    assert (decoded.mode, decoded.size) == ("RGB", (9, 5))
    assert np.abs(np.asarray(decoded).astype(int) - RED).max() <= 3


@pytest.mark.parametrize("form", ["GIF", "TIFF", "BMP", "ICO", "PPM", "TGA", "JPEG2000", "AVIF", "DDS", "PCX"])
def test_other_formats_are_refused(form: str) -> None:
    with pytest.raises(ImageRejected):
        decode(encoded(picture(), form), param="image")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0", id="one byte"),
        pytest.param(b"hello" * 1000, id="text"),
        pytest.param(random.Random(0).randbytes(5000), id="noise"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>", id="SVG"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", id="EPS"),
        pytest.param(b"%PDF-1.7\n", id="PDF"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="PNG's signature alone"),
        pytest.param(b"\xff\xd8\xff", id="JPEG's signature alone"),
        pytest.param(b"RIFF\x10\0\0\0WEBPVP8 ", id="WebP's signature alone"),
        pytest.param(png(0, 5, b""), id="no width"),
        pytest.param(b"GIF89a" + encoded(picture()), id="another signature before a PNG"),
    ],
)
@pytest.mark.parametrize("param", ["image", "mask"])
def test_what_is_no_picture_is_refused_and_names_the_field(data: bytes, param: str) -> None:
    with pytest.raises(ImageRejected, match=f"^{param}: not a readable PNG, JPEG or WebP picture") as refused:
        decode(data, param=param)
    assert refused.value.param == param


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_picture_cut_off_anywhere_is_refused(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    for length in range(0, len(data) // 2, 7):
        with pytest.raises(ImageRejected):
            decode(data[:length], param="image")


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((4096, 4097), id="a row too many"),
        pytest.param((10_000, 10_000), id="Pillow warns"),
        pytest.param((50_000, 50_000), id="Pillow raises"),
        pytest.param((2**31 - 1, 2**31 - 1), id="the most a header can say"),
    ],
)
def test_a_pixel_bomb_is_refused_by_its_header(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("must not be decoded"))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda _: pytest.fail("must not be decoded"))
    with pytest.raises(TooLarge, match=f"mask: at most {4096 * 4096} pixels") as refused:
        decode(png(*size, b""), param="mask")
    assert refused.value.param == "mask"


def test_the_limit_on_pixels_is_inclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "MAX_PIXELS", 6)
    assert decode(encoded(picture()), param="image").size == (3, 2)
    monkeypatch.setattr(decode_module, "MAX_PIXELS", 5)
    with pytest.raises(TooLarge):
        decode(encoded(picture()), param="image")


def test_a_bomb_of_compressed_text_is_refused() -> None:
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(5_000_000)))
    with pytest.raises(ImageRejected):
        decode(png(1, 1, bytes(4), between=bomb), param="image")


def test_too_little_memory_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(MemoryError):
        decode(encoded(picture()), param="image")


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_orientation_is_applied(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    decoded = decode(encoded(picture(), form, exif=exif, **options), param="image")
    assert np.array_equal(np.asarray(decoded), UPRIGHT[orientation](np.asarray(picture())))


def test_the_orientation_of_a_jpeg_is_applied() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = Image.new("RGB", (32, 16), RED)
    stored.paste(BLUE, (16, 0, 32, 16))
    decoded = decode(encoded(stored, "JPEG", exif=exif, quality=95), param="image")
    assert decoded.size == (16, 32)
    assert np.abs(np.asarray(decoded.getpixel((8, 2))) - RED).max() < 9
    assert np.abs(np.asarray(decoded.getpixel((8, 29))) - BLUE).max() < 9


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_changes_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert pixels(decode(encoded(picture(), exif=exif), param="image")) == pixels(picture())


def test_exif_data_that_nobody_could_write_anew_is_no_obstacle() -> None:
    """A tag whose value is of a wrong type, as cameras write them: only the orientation is wanted of it."""
    date = struct.pack("<HHI4s", ExifTags.Base.ImageWidth, 2, 4, b"abc\0")  # a text where a number belongs
    orientation = struct.pack("<HHIHH", ExifTags.Base.Orientation, 3, 1, 6, 0)
    exif = b"II*\0" + struct.pack("<IH", 8, 2) + date + orientation + bytes(4)
    decoded = decode(encoded(picture(), "PNG", exif=b"Exif\0\0" + exif), param="image")
    assert np.array_equal(np.asarray(decoded), UPRIGHT[6](np.asarray(picture())))


def test_an_animated_picture_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    for form, options in {"PNG": {}, "WEBP": {"lossless": True}}.items():
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
        with Image.open(io.BytesIO(data)) as image:
            assert getattr(image, "n_frames", 1) == 3
        decoded = decode(data, param="image")
        assert set(pixels(decoded)) == {RED}


def test_a_jpeg_of_several_pictures_is_its_first() -> None:
    data = encoded(Image.new("RGB", (8, 8), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), BLUE)])
    assert np.abs(np.asarray(decode(data, param="image")).astype(int) - RED).max() <= 3


class TestMeasure:
    @pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
    @pytest.mark.parametrize("orientation", [*UPRIGHT, 0, 9, 65535])
    def test_is_the_size_of_what_would_be_decoded(self, orientation: int, form: str) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        data = encoded(picture(), form, exif=exif)
        assert measure(data, param="image") == decode(data, param="image").size
        assert measure(data, param="image") == ((2, 3) if orientation in (5, 6, 7, 8) else (3, 2))

    def test_without_exif_data(self) -> None:
        assert measure(encoded(picture()), param="image") == (3, 2)

    @pytest.mark.parametrize("keyword", ["eXIf", "XMP"])
    def test_finds_an_orientation_behind_the_pixels(self, keyword: str) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        xmp = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b'<x tiff:Orientation="6"/>')
        late = chunk(b"eXIf", exif.tobytes()[6:]) if keyword == "eXIf" else chunk(b"iTXt", xmp)
        data = encoded(picture())
        data = data[:-12] + late + data[-12:]
        assert measure(data, param="image") == decode(data, param="image").size == (2, 3)

    def test_decodes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("must not be decoded"))
        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda _: pytest.fail("must not be decoded"))
        assert measure(encoded(picture(), "JPEG"), param="image") == (3, 2)
        assert measure(png(4096, 4096, b""), param="image") == (4096, 4096)

    @pytest.mark.parametrize("data", [b"", b"hello", encoded(picture(), "GIF"), png(0, 5, b"")])
    def test_refuses_what_is_no_picture(self, data: bytes) -> None:
        with pytest.raises(ImageRejected, match=r"^pose_image: not a readable") as refused:
            measure(data, param="pose_image")
        assert refused.value.param == "pose_image"

    @pytest.mark.parametrize("size", [(4096, 4097), (50_000, 50_000)])
    def test_refuses_what_is_too_large(self, size: tuple[int, int]) -> None:
        with pytest.raises(TooLarge) as refused:
            measure(png(*size, b""), param="image")
        assert refused.value.param == "image"


class TestModes:
    def test_grey(self) -> None:
        decoded = decode(encoded(Image.frombytes("L", (2, 1), bytes([7, 200]))), param="image")
        assert (decoded.mode, pixels(decoded)) == ("RGB", [(7, 7, 7), (200, 200, 200)])

    def test_black_and_white(self) -> None:
        decoded = decode(encoded(Image.new("1", (1, 1), 1)), param="image")
        assert (decoded.mode, pixels(decoded)) == ("RGB", [WHITE])

    def test_palette(self) -> None:
        decoded = decode(encoded(Image.new("RGB", (2, 1), GREEN).quantize(2)), param="image")
        assert (decoded.mode, set(pixels(decoded))) == ("RGB", {GREEN})

    def test_palette_with_transparency(self) -> None:
        image = Image.frombytes("P", (2, 1), bytes([0, 1]))
        image.putpalette([*RED, *GREEN])
        decoded = decode(encoded(image, transparency=bytes([0, 255])), param="image")
        assert (decoded.mode, pixels(decoded)) == ("RGBA", [(*RED, 0), (*GREEN, 255)])

    def test_cmyk(self) -> None:
        """White is no ink: colours are not inverted."""
        decoded = decode(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"), param="image")
        assert (decoded.mode, set(pixels(decoded))) == ("RGB", {WHITE})
        black = decode(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG"), param="image")
        assert set(pixels(black)) == {(0, 0, 0)}

    def test_sixteen_bits_of_grey_are_scaled_and_not_clipped(self) -> None:
        image = Image.fromarray(np.array([[0, 255, 256, 0x8000, 0xFFFF]], np.uint16))
        decoded = decode(encoded(image), param="image")
        assert (decoded.mode, [red for red, _, _ in pixels(decoded)]) == ("RGB", [0, 0, 1, 128, 255])

    def test_sixteen_bits_of_grey_with_a_transparent_value(self) -> None:
        rows = b"\0" + struct.pack(">2H", 0x8000, 0xFFFF)
        data = png(2, 1, rows, bits=16, colour_type=0, between=chunk(b"tRNS", b"\xff\xff"))
        decoded = decode(data, param="image")
        assert (decoded.mode, pixels(decoded)) == ("RGBA", [(128, 128, 128, 255), (*WHITE, 0)])

    def test_sixteen_bits_of_colour(self) -> None:
        decoded = decode(png(1, 1, b"\0" + struct.pack(">3H", 0, 0x8000, 0xFFFF), bits=16), param="image")
        assert (decoded.mode, pixels(decoded)) == ("RGB", [(0, 128, 255)])

    def test_a_transparent_colour(self) -> None:
        data = png(2, 1, b"\0" + bytes([1, 2, 3, 4, 5, 6]), between=chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)))
        decoded = decode(data, param="image")
        assert (decoded.mode, pixels(decoded)) == ("RGBA", [(1, 2, 3, 0), (4, 5, 6, 255)])

    @pytest.mark.parametrize("form", ["PNG", "WEBP"])
    def test_transparency(self, form: str) -> None:
        image = Image.new("RGBA", (2, 1), (*RED, 255))
        image.putpixel((1, 0), (*BLUE, 128))
        decoded = decode(encoded(image, form, **({"lossless": True} if form == "WEBP" else {})), param="image")
        assert (decoded.mode, pixels(decoded)) == ("RGBA", [(*RED, 255), (*BLUE, 128)])

    def test_grey_with_transparency(self) -> None:
        decoded = decode(encoded(Image.new("LA", (1, 1), (9, 30))), param="image")
        assert (decoded.mode, pixels(decoded)) == ("RGBA", [(9, 9, 9, 30)])

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_an_alpha_channel_that_hides_nothing_is_no_transparency(self, mode: str) -> None:
        decoded = decode(encoded(Image.new("RGB", (2, 2), WHITE).convert(mode)), param="image")
        assert (decoded.mode, set(pixels(decoded))) == ("RGB", {WHITE})

    def test_transparency_is_turned_with_the_picture(self) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 3
        image = Image.frombytes("LA", (2, 1), bytes([9, 0, 9, 255]))
        decoded = decode(encoded(image, exif=exif), param="image")
        assert [alpha for *_, alpha in pixels(decoded)] == [255, 0]
