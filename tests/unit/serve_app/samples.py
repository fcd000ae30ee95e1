"""What requests are made of, and what streams say."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from PIL import Image


def photo(width: int = 96, height: int = 64, form: str = "PNG", **options: Any) -> bytes:
    """A picture file of one colour, which its size decides."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (width % 256, height % 256, 0)).save(file, form, **options)
    return file.getvalue()


def base64_of(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64_of(picture)}"


def joints(count: int = 18, x: float = 0.5, y: float = 0.25) -> list[float]:
    """OpenPose's numbers of so many joints, of which the first alone is seen."""
    return [x, y, 1.0] + [0.0] * (3 * (count - 1))


@dataclass(frozen=True)
class Told:
    """A server-sent event, or a comment."""

    event: str | None
    data: Any
    comment: str | None


def told(response: httpx.Response) -> list[Told]:
    """What a stream says, read as the standard has it."""
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("\n\n")
    events = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        assert fields.keys() <= {"event", "data", ""}, block
        data = json.loads(fields["data"]) if "data" in fields else None
        events.append(Told(fields.get("event"), data, fields.get("")))
    return events


async def read_into(seen: list[object], events: AsyncIterator[object]) -> None:
    """All of them, so that those before a failure are seen too."""
    async for event in events:
        seen.append(event)  # noqa: PERF401
