"""Bytes to pixels: hostile input stops here. What a client uploaded is decoded in a process of its own, worker.py.

The format is told from the bytes, not from a name or header; only PNG, JPEG and WebP are taken, only the first frame is
read, and pixels are counted from the file's header before anything is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ExifTags, Image

from deployments.errors import ImageRejected, TooLarge
from deployments.types import MAX_PIXELS

FORMATS = ("PNG", "JPEG", "WEBP")

# By EXIF orientation: what makes the picture upright. Not ImageOps.exif_transpose: it also writes the EXIF data anew,
# which fails on what many a camera writes.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)  # orientations whose width and height change places
_ORIENTATION_IN_PNG = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")  # what holds one begins with


def decode(data: bytes, *, param: str) -> Image.Image:
    """The picture with its EXIF orientation applied, in mode RGB or, with any transparency, RGBA.

    `param` names the request field in errors. Raises ImageRejected, TooLarge and MemoryError.
    """
    with _opened(data, param) as image:
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        return _colours(image if turn is None else image.transpose(turn))


def measure(data: bytes, *, param: str) -> tuple[int, int]:
    """Width and height of the picture that `decode` would return, from the file's header. Raises as that.

    Pixels are decoded only of a PNG that may have its orientation behind them: Pillow would do so of any without one.
    """
    with _opened(data, param) as image:
        width, height = image.size
        may_lie = image.format != "PNG" or any(mark in data for mark in _ORIENTATION_IN_PNG)
        return (height, width) if may_lie and _orientation(image) in _LYING else (width, height)


@contextmanager
def _opened(data: bytes, param: str) -> Iterator[Image.Image]:
    """The file, of a format that we take and not too large; whatever else goes wrong with it is one error."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow has limits of its own
        raise TooLarge(f"{param}: at most {MAX_PIXELS} pixels are taken.", param=param) from error
    except MemoryError:  # of this process, whatever the file; the caller knows what is allowed
        raise
    except Exception as error:  # there is no telling what a decoder raises on bytes made to break it
        raise ImageRejected(f"{param}: not a readable PNG, JPEG or WebP picture.", param=param) from error


def _orientation(image: Image.Image) -> int:
    orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation


def _colours(image: Image.Image) -> Image.Image:
    if image.mode == "I;16":  # converting would clip and not scale: all but black became white
        image = image.point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        if with_alpha.getchannel("A").getextrema() != (255, 255):  # opaque pictures often have an alpha channel
            return with_alpha
    return image.convert("RGB")
