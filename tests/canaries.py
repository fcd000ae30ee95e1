"""Texts that a caller sends and that must be found nowhere else: no log, no error, no metric.

`leaks` looks for them in a text, also where it holds them in base64; `leaks_below` in every file of a folder, as Ray's
logs. Whoever uses them sends each of them, and makes sure that what it looks through is not empty.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

CANARIES = {
    name: f"canary-{name}-7f3a9c51"
    for name in (
        "prompt",
        "negative",
        "key",
        "wrong-key",
        "picture",
        "user",
        "file",
        "field",
        "query",
        "header",
    )
}


def canary_picture(width: int = 96, height: int = 64) -> bytes:
    """A PNG that says the canary `picture` in its bytes."""
    file, info = io.BytesIO(), PngInfo()
    info.add_text("Comment", CANARIES["picture"])
    Image.new("RGB", (width, height)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def leaks(text: str) -> set[str]:
    """The names of the canaries in `text`."""
    return {name for name, canary in CANARIES.items() if any(form in text for form in _forms(canary))}


def leaks_below(folder: Path) -> dict[Path, set[str]]:
    """The same, of each file in the folder and those below that has any."""
    texts = {path: path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()}
    return {path: found for path, text in texts.items() if (found := leaks(text))}


def _forms(canary: str) -> Iterator[str]:
    """As it is, and in base64, which has three forms of it, by where in a longer text it stands."""
    yield canary
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + canary.encode()).decode().rstrip("=")
        yield whole[(0, 2, 3)[shift] : -1]  # the first and last characters tell of neighbours too
