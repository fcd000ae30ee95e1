"""Bytes to pixels: hostile input stops here.

The format is told from the bytes, not from a name or header; only PNG, JPEG and WebP are taken, only the first frame is
read, and pixels are counted from the file's header before anything is decoded.
"""

from __future__ import annotations

import io

from PIL import Image, ImageOps

from deployments.errors import ImageRejected, TooLarge

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 4096 * 4096


def decode(data: bytes, *, param: str) -> Image.Image:
    """The picture with its EXIF orientation applied, in mode RGB or, with any transparency, RGBA.

    `param` names the request field in errors. Raises ImageRejected and TooLarge.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise TooLarge(f"{param}: at most {MAX_PIXELS} pixels are taken.", param=param)
            upright = ImageOps.exif_transpose(image)
            return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageRejected(f"{param}: not a readable PNG, JPEG or WebP picture.", param=param) from error
