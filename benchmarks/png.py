"""What a PNG costs, in time and in bytes: the levels of zlib and its strategies, on a photo and on a painted picture.

    python -m benchmarks.png

Level 0 to 9 is how hard zlib looks for what was there before; the strategies RLE and Huffman do not look, since in a
picture with grain nothing was, once PNG's filters have taken out what pixels share with their neighbours. Prints a
table and, last, one line of JSON: of what deployments/imaging/encode.py does, milliseconds and bytes divided by those
of zlib's default, level 6.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import time
import zlib
from typing import Any

import numpy as np
import skimage.data
from PIL import Image
from torch.utils.benchmark import Timer

from benchmarks.offline import OfflineEngine
from deployments.imaging.encode import encode
from deployments.models.pixels import to_pixels

SIDES = (256, 512, 1024)
STRATEGIES = {"Huffman": zlib.Z_HUFFMAN_ONLY, "RLE": zlib.Z_RLE}
DEFAULT, CHOSEN = "level 6", "Easel's"


def main() -> None:
    ways: dict[str, Any] = {f"level {level}": functools.partial(png, compress_level=level) for level in range(10)}
    ways |= {name: functools.partial(png, compress_type=strategy) for name, strategy in STRATEGIES.items()}
    ways[CHOSEN] = lambda picture: encode(np.asarray(picture), "png", 100)
    ratios = {}
    for name, pictures in (("photo", photos()), ("painted", painted())):
        print(f"\n{name:12}" + "".join(f"{f'{side}x{side}':>20}" for side in SIDES))
        figures = {way: [cost(run, picture) for picture in pictures] for way, run in ways.items()}
        for way, costs in figures.items():
            print(f"  {way:10}" + "".join(f"{ms:10.1f} ms{size / 1000:5.0f} kB" for ms, size in costs), flush=True)
        ratios[name] = {
            str(side): {"milliseconds": round(ms / default_ms, 2), "bytes": round(size / default_size, 2)}
            for side, (ms, size), (default_ms, default_size) in zip(
                SIDES, figures[CHOSEN], figures[DEFAULT], strict=True
            )
        }
    print(json.dumps(ratios))


def photos() -> list[Image.Image]:
    photo = Image.fromarray(skimage.data.astronaut())
    return [photo.resize((side, side), Image.Resampling.LANCZOS) for side in SIDES]


def painted() -> list[Image.Image]:
    """By the small SDXL model: a few steps, as grainy as a picture of the full-size one."""
    engine = OfflineEngine()

    async def paint(side: int) -> Image.Image:
        order = {"prompt": "a red circle", "size": f"{side}x{side}", "num_steps": 4, "guidance_scale": 5.0, "seed": 1}
        return Image.fromarray(to_pixels(await engine.paint(order)))

    try:
        return [asyncio.run(paint(side)) for side in SIDES]
    finally:
        engine.stop()


def png(picture: Image.Image, **options: int) -> bytes:
    target = io.BytesIO()
    picture.save(target, "PNG", **options)
    return target.getvalue()


def cost(run: Any, picture: Image.Image) -> tuple[float, int]:
    """Milliseconds of the processor, whatever else it does, and bytes."""
    timer = Timer("run(picture)", globals={"run": run, "picture": picture}, timer=time.thread_time)
    return timer.blocked_autorange(min_run_time=0.2).median * 1000, len(run(picture))


if __name__ == "__main__":
    main()
