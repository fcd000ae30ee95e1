from __future__ import annotations

import base64
import contextlib
import textwrap
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from serve_app.dialects.picture_data import PictureData

PICTURE = TypeAdapter(PictureData)
BYTES = bytes(range(256))
TEXT = base64.b64encode(BYTES).decode()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(BYTES, id="a file"),
        pytest.param(TEXT, id="base64"),
        pytest.param("\r\n".join(textwrap.wrap(TEXT, 76)) + "\n", id="in lines"),
        pytest.param(f"data:image/png;base64,{TEXT}", id="a data URL"),
        pytest.param(f"data:;base64,{TEXT}", id="of no type"),
        pytest.param(f"data:text/html;charset=x;base64,{TEXT}", id="of another type"),
        pytest.param({"image_url": f"data:image/png;base64,{TEXT}"}, id="as OpenAI wraps it"),
        pytest.param(TEXT.rstrip("="), id="without padding"),
        pytest.param(base64.urlsafe_b64encode(BYTES).decode(), id="in URL-safe base64"),
        pytest.param(f"DATA:image/png;BASE64,{quote(TEXT)}", id="a data URL written otherwise"),
        pytest.param([TEXT], id="a list of one"),
        pytest.param({"image_url": TEXT, "detail": "high"}, id="with more beside"),
    ],
)
def test_spellings(value: Any) -> None:
    assert PICTURE.validate_python(value, strict=True) == BYTES


SPELLINGS: dict[str, Callable[[str], Any]] = {
    "bare": lambda text: text,
    "in lines": lambda text: "\n ".join(textwrap.wrap(text, 7)),
    "without padding": lambda text: text.rstrip("="),
    "URL-safe": lambda text: text.replace("+", "-").replace("/", "_"),
    "a data URL": lambda text: f"data:image/png;base64,{text}",
    "quoted": lambda text: f"Data:;Base64,{quote(text, safe='')}",
    "quoted in lower case": lambda text: f"data:;base64,{text.replace('+', '%2b').replace('/', '%2f')}%0a",
    "quoted in lines": lambda text: "data:;base64," + quote("\r\n ".join(textwrap.wrap(text, 7)), safe=""),
    "wrapped": lambda text: {"image_url": f"data:image/webp;base64,{text}"},
    "in a list": lambda text: [text],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(content=st.binary(min_size=1))
def test_any_bytes_come_out_of_every_spelling(spelling: str, content: bytes) -> None:
    assert PICTURE.validate_python(content) == content
    text = base64.b64encode(content).decode()
    assert PICTURE.validate_python(SPELLINGS[spelling](text), strict=True) == content


any_text = st.text(st.characters())  # surrogates included
almost = st.text(st.sampled_from("iVBORw0KGgo=+/-_ \n%,;:"))
any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | any_text | almost,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["image_url", "file_id", "url"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(any_value | st.builds("{}{}{}".format, st.sampled_from(["data:", "DATA:image/png;base64,"]), any_text, almost))
def test_anything_else_is_bytes_or_refused(value: object) -> None:
    with contextlib.suppress(ValidationError):
        assert isinstance(PICTURE.validate_python(value), bytes)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("https://example.org/cat.png", "addresses are not fetched"),
        ("http://127.0.0.1/", "addresses are not fetched"),
        ({"image_url": "https://example.org/cat.png"}, "addresses are not fetched"),
        ({"file_id": "file-abc"}, "no uploaded files"),
        ({"image_url": None}, "a file, base64 or a data URL"),
        ({"image_url": {"url": TEXT}}, "a file, base64 or a data URL"),
        ({}, "a file, base64 or a data URL"),
        ([TEXT, TEXT], "one picture"),
        ([], "one picture"),
        ([BYTES, BYTES], "one picture"),
        ("", "a file, base64 or a data URL"),
        (b"", "a file, base64 or a data URL"),
        (5, "a file, base64 or a data URL"),
        ("data:image/png;base64", "data URL with base64"),
        ("data:image/svg+xml,<svg/>", "data URL with base64"),
        *[
            (address, "addresses are not fetched")
            for address in (
                "HTTPS://example.org/cat.png",
                "hTTp:example.org",
                " http://example.org/cat.png",
                "\thttp://127.0.0.1:8265/",
                "http://169.254.169.254/latest/meta-data/",
                "http://[::1]/",
                "file:///etc/passwd",
                "ftp://example.org/cat.png",
                "gopher://127.0.0.1:6379/_PING",
                "s3://bucket/cat.png",
                "jar:http://example.org!/cat.png",
                "blob:https://example.org/1",
                "view-source:http://example.org",
                "://example.org",
                "c:\\cat.png",
                "url:data:image/png;base64,iVBO",
                {"image_url": "http://127.0.0.1/"},
                {"image_url": "file:///etc/passwd", "detail": "high"},
                [{"image_url": "https://example.org/cat.png"}],
            )
        ],
        ("data:text/html,<script>", "data URL with base64"),
        ("data://example.org/cat.png", "data URL with base64"),
        ("data:http://example.org/cat.png;base64", "data URL with base64"),
        ({"url": "http://127.0.0.1/"}, "a file, base64 or a data URL"),
        ({"image": {"image_url": "http://127.0.0.1/"}}, "a file, base64 or a data URL"),
        ({"image_url": {"url": "http://127.0.0.1/"}}, "a file, base64 or a data URL"),
        ({"image_url": ["http://127.0.0.1/"]}, "a file, base64 or a data URL"),
        ([["http://127.0.0.1/"]], "one picture"),
        ("//example.org/cat.png", "must be base64"),
        ("\\\\example.org\\cat.png", "must be base64"),
        ("/etc/passwd.png", "must be base64"),
        ("../../etc/passwd", "must be base64"),
        ("example.org/cat.png", "must be base64"),
        ("iVBOR", "must be base64"),
        ("iVB=ORw=", "must be base64"),
        ("ｉVBO", "must be base64"),
        ("iVBO%2B%2B%2B%2B", "must be base64"),
        *[
            (f"data:image/png;base64,{data}", "must be base64")
            for data in (
                "%69VBO",
                "iVB%4F",
                "%252B%252B",
                "%%202BBO",
                "iVBO%",
                "iVBO%2",
                "iVBO%2G",
                "%%%",
                "iVBO%C3%BC",
                "ü",
            )
        ],
        ("\ud800", "must be base64"),
    ],
)
def test_what_is_no_picture_is_told(value: Any, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PICTURE.validate_python(value)
    (error,) = refused.value.errors()
    assert error["type"] == "picture"
    assert says in error["msg"]
