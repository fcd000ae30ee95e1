"""Pictures to send, and clients that run as programs of their own."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).parent
SECONDS = 180
WIDTH, HEIGHT = 96, 64

Run = Callable[..., Any]


def opened(data: str | bytes | None) -> Image.Image:
    """A picture from base64, an address or a file's bytes."""
    assert data
    if isinstance(data, str):
        data = httpx.get(data, timeout=SECONDS).content if data.startswith("http") else base64.b64decode(data)
    return Image.open(io.BytesIO(data))


def kept(picture: Image.Image, original: Image.Image, mask: Image.Image) -> bool:
    """Whether what the mask keeps is the original's, bit for bit, and what it marks is not."""
    same = (np.asarray(picture.convert("RGB")) == np.asarray(original.convert("RGB"))).all(axis=-1)
    repainted = np.asarray(mask.convert("L")) == 255
    return bool(same[~repainted].all() and not same[repainted].all())


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with image.png, of noise that no model would paint, and mask.png, whose left half is white."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "image.png")
    mask = Image.new("L", (WIDTH, HEIGHT), 0)
    mask.paste(255, (0, 0, WIDTH // 2, HEIGHT))
    mask.save(folder / "mask.png")
    return folder


@pytest.fixture(scope="session")
def image(pictures: Path) -> Image.Image:
    return Image.open(pictures / "image.png")


@pytest.fixture(scope="session")
def mask(pictures: Path) -> Image.Image:
    return Image.open(pictures / "mask.png")


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of somebody."""
    from skimage.data import astronaut

    path = tmp_path_factory.mktemp("person") / "person.png"
    Image.fromarray(astronaut()).save(path)
    return path


def run_program(*command: str | Path) -> str:
    """What the program prints; fails with what it says on stderr."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_for_json(*command: str | Path) -> Any:
    """The JSON in the last line that the program prints."""
    return json.loads(run_program(*command).splitlines()[-1])
