"""No body within its limit holds the event loop for long or takes many times its size, whatever it is made of.

Counted, not timed: the lines of Python that a request runs, and the memory that it takes at its most.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

pytestmark = pytest.mark.anyio

URL = "/openai/v1/images/edits"
SIZE = 2 * 2**20
MAX_LINES = 2_000_000  # a small edit takes 5,000, each byte of a form's heads up to 20
MAX_MEMORY = 12 * SIZE  # a text whose every character is widened by a single one takes 9 times its size

JSON, FORM = "application/json", "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n'
PROMPT = PART % b"prompt" + b"\r\notter\r\n"
END = b"\r\n--x--\r\n"
LIST = (b'{"prompt": "otter", "x": [', b"0]}")
TEXT = (b'{"prompt": "otter", "x": "', b'"}')
PICTURE = (b'{"prompt": "otter", "image": "', b'"}')
DATA_URL = (b'{"prompt": "otter", "image": "data:image/png;base64,', b'"}')
NUMBER = (b'{"prompt": "otter", "x": ', b"}")

BODIES: dict[str, tuple[str, bytes, bytes, bytes]] = {
    # what it is: its type, what it begins with, what is repeated, what it ends with
    "a picture in base64": (JSON, PICTURE[0], b"iVBO", PICTURE[1]),
    "a picture in a data URL": (JSON, DATA_URL[0], b"iVBO", DATA_URL[1]),
    "escapes of a letter": (JSON, DATA_URL[0], b"%41", DATA_URL[1]),
    "escapes of a plus sign": (JSON, DATA_URL[0], b"%2B", DATA_URL[1]),
    "escapes of a line break": (JSON, DATA_URL[0], b"%0A", DATA_URL[1]),
    "percent signs": (JSON, DATA_URL[0], b"%", DATA_URL[1]),
    "objects": (JSON, LIST[0], b"{},", LIST[1]),
    "numbers": (JSON, LIST[0], b"1,", LIST[1]),
    "long numbers": (JSON, LIST[0], b"9" * 4000 + b",", LIST[1]),
    "nested lists": (JSON, LIST[0], b"[" * 500 + b"]" * 500 + b",", LIST[1]),
    "nested objects": (JSON, LIST[0], b'{"":' * 300 + b"0" + b"}" * 300 + b",", LIST[1]),
    "fields": (JSON, b'{"prompt": "otter"', b',"x":1', b"}"),
    "an endless list": (JSON, b"", b"[", b""),
    "an endless object": (JSON, b"", b'{"":', b""),
    "an integer": (JSON, NUMBER[0], b"9", NUMBER[1]),
    "a fraction": (JSON, NUMBER[0] + b"0.", b"9", NUMBER[1]),
    "a long name": (JSON, b'{"prompt": "otter", "', b"a", b'": 1}'),
    "escapes in a text": (JSON, TEXT[0], rb"\n", TEXT[1]),
    "escaped letters": (JSON, TEXT[0], rb"\u00e4", TEXT[1]),
    "escaped pairs": (JSON, TEXT[0], rb"\ud83d\ude00", TEXT[1]),
    "escaped halves of pairs": (JSON, TEXT[0], rb"\ud83d", TEXT[1]),
    "a text that one character widens": (JSON, TEXT[0] + "🦦".encode(), b"a", TEXT[1]),
    "blanks": (JSON, b'{"prompt": "otter"', b" ", b"}"),
    "a long prompt": (JSON, b'{"prompt": "', b"a ", b'"}'),
    "a form with a file": (FORM, PROMPT + FILE, b"\x89PNG\0\xff", END),
    "a form with a picture as text": (FORM, PROMPT + PART % b"image" + b"\r\n", b"iVBO", END),
    "a form with a long text": (FORM, PROMPT + PART % b"user" + b"\r\n", b"a", END),
    "a form with JSON for a number": (FORM, PROMPT + PART % b"n" + b"\r\n", b"[],", END),
    "a form with JSON for an object": (FORM, PROMPT + PART % b"keypoints" + b"\r\n", b"[[]],", END),
    "line breaks in a part": (FORM, PROMPT + FILE, b"\r\n--", END),
    "a form of fields": (FORM, b"", PROMPT, b"--x--\r\n"),
    "a form of empty parts": (FORM, b"", b"--x\r\n\r\n\r\n", b"--x--\r\n"),
    "almost a boundary": (FORM, PROMPT + FILE, b"\r\n--xy", END),
    "padding of a boundary": (FORM, PROMPT + FILE + b"\r\n--x", b" ", b"\r\n" + END),
    "line breaks before a form": (FORM, b"", b"\r\n", PROMPT + END),
    "dashes before a form": (FORM, b"", b"\r\n-", PROMPT + END),
    "what follows a form": (FORM, PROMPT + END, b"\r\n--x\r\n", b""),
    "header lines": (FORM, PART % b"user", b"a:b\r\n", b"\r\n" + END),
    "a long header": (FORM, PART % b"user" + b"a: ", b"a", b"\r\n\r\n" + END),
    "a long name of a header": (FORM, PART % b"user", b"a", b": a\r\n\r\n" + END),
    "spaces in headers": (FORM, b"", PART % b"user" + (b"a:" + b" " * 4000 + b"\r\n") * 7 + b"\r\n\r\n", b"--x--\r\n"),
    "options in headers": (FORM, b"", PART[:-2] % b"user" + b";a" * 1900 + b"\r\n\r\n\r\n", b"--x--\r\n"),
    "a form in punycode": (FORM + "; charset=punycode", PROMPT + PART % b"user" + b"\r\na-", b"b", END),
    "a form that is URL-encoded": ("application/x-www-form-urlencoded", b"prompt=otter", b"&", b""),
    "escapes in a form that is URL-encoded": ("application/x-www-form-urlencoded", b"prompt=", b"%41", b""),
    "no words": ("text/plain", b"", b"a", b""),
}


@dataclass
class Work:
    lines: int = 0
    memory: int = 0


@contextmanager
def counted() -> Iterator[Work]:
    """The work of this thread within the block."""
    work = Work()

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        work.lines += event == "line"
        return trace

    before = sys.gettrace()
    tracemalloc.start()
    sys.settrace(trace)
    try:
        yield work
    finally:
        sys.settrace(before)
        work.memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@pytest.mark.parametrize("body", BODIES)
async def test_a_large_body_is_little_work(body: str, app: FastAPI) -> None:
    content_type, start, repeated, end = BODIES[body]
    content = start + repeated * ((SIZE - len(start) - len(end)) // len(repeated)) + end
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://easel.test") as client:
        await client.post(URL, json={"prompt": "otter", "image": "iVBO"})  # the first prepares much, for all
        with counted() as work:
            response = await client.post(URL, content=content, headers={"content-type": content_type})
    assert 400 <= response.status_code < 500
    assert work.lines < MAX_LINES
    assert work.memory < MAX_MEMORY
