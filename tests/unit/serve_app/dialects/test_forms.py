"""What of a form is refused before Starlette reads it; test_request_bodies has how forms are read."""

from __future__ import annotations

import tempfile

import anyio
import pytest
from fastapi import Request
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.types import Message

from deployments.errors import InvalidRequest
from serve_app.dialects.fields import MAX_FIELDS
from serve_app.dialects.forms import MAX_BOUNDARY_BYTES, MAX_FILES, MAX_HEAD_BYTES, read_form

CONTENT_TYPE = "multipart/form-data; boundary=x"
DISPOSITION = b'Content-Disposition: form-data; name="field"'
FIRST, NEXT, LAST = b"--x\r\n" + DISPOSITION, b"\r\n--x\r\n" + DISPOSITION, b"\r\n--x--\r\n"
CONTENT = b"\r\n\r\notter"
MIB = 2**20


def read(form: bytes, content_type: str = CONTENT_TYPE) -> object:
    async def receive() -> Message:
        return {"type": "http.request", "body": form}

    scope = {"type": "http", "headers": [(b"content-type", content_type.encode())]}
    return anyio.run(read_form, Request(scope, receive))


def refusal(form: bytes, content_type: str = CONTENT_TYPE) -> str:
    with pytest.raises(InvalidRequest) as refused:
        read(form, content_type)
    assert refused.value.code == "invalid_body"
    return refused.value.message


@given(
    content=st.binary(max_size=100) | st.lists(st.sampled_from([b"\r\n", b"--", b"x", b"\r", b" "])).map(b"".join),
    boundary=st.sampled_from(["x", "-", "x" * MAX_BOUNDARY_BYTES]),
    shift=st.integers(0, 200),
)
def test_any_content_is_read_whole(content: bytes, boundary: str, shift: int) -> None:
    """Also where the parser is interrupted amid it, which is told neither where nor how often."""
    delimiter = b"\r\n--" + boundary.encode()
    assume(delimiter not in content + b"\r\n-")
    content = content.rjust(MAX_HEAD_BYTES - shift, b"\0")
    form = b"".join(
        delimiter + rest
        for rest in (
            b"\r\n" + DISPOSITION + b'; filename="f"\r\n\r\n' + content,
            b"\r\n" + DISPOSITION + CONTENT,
            b"--",
        )
    )
    assert read(form, f'multipart/form-data; boundary="{boundary}"') == {"field": [content, "otter"]}


@pytest.mark.parametrize(
    "form",
    [
        FIRST + CONTENT + (NEXT + CONTENT) * (MAX_FIELDS + MAX_FILES + 1) + LAST,
        b"--x\r\n\r\n\r\n" * (MIB // 9) + b"--x--\r\n",
        FIRST + CONTENT + b"\r\n--xy" * (MIB // 6) + LAST,
    ],
    ids=["parts", "empty parts", "what is almost a part"],
)
def test_a_form_of_too_many_parts_is_not_parsed(form: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.dialects.forms.MultipartParser", None)
    monkeypatch.setattr(Request, "form", None)
    assert f"at most {MAX_FIELDS} fields and {MAX_FILES} files" in refusal(form)


LINE = b"\r\na:" + b" " * 4000
OPTIONS = b";a" * 1900


@pytest.mark.parametrize(
    "form",
    [
        b"\r\n" * MIB + FIRST + CONTENT + LAST,
        (FIRST + LINE * 7 + CONTENT + b"\r\n") * 5 + b"--x--\r\n",
        (FIRST + OPTIONS + CONTENT + b"\r\n") * 25 + b"--x--\r\n",
        FIRST + CONTENT + (NEXT + b"\r\n\r\n") * 5000 + LAST,
    ],
    ids=["lines before", "spaces in heads", "options in heads", "no content"],
)
def test_a_form_of_large_heads_is_not_parsed_to_its_end(form: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Request, "form", None)
    monkeypatch.setattr("serve_app.dialects.forms.MAX_FIELDS", 10_000)
    assert f"at most {MAX_HEAD_BYTES} bytes together" in refusal(form)


def test_content_is_no_head_and_nor_is_what_follows_the_form() -> None:
    text = "otter" * MIB
    assert read(FIRST + b"\r\n\r\n" + text.encode() + LAST + bytes(MIB)) == {"field": text}


@pytest.mark.parametrize(
    "boundary", ["", "; boundary=", '; boundary=""', "; boundary=" + "x" * (MAX_BOUNDARY_BYTES + 1)]
)
def test_a_boundary_is_of_a_sane_length(boundary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.dialects.forms.MultipartParser", None)
    monkeypatch.setattr(Request, "form", None)
    assert "must name its boundary" in refusal(FIRST + CONTENT + LAST, f"multipart/form-data{boundary}")


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-7", "utf-16", "undefined", "latin-1", "none-such", '""'])
def test_a_form_is_in_utf8(charset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Request, "form", None)
    assert "UTF-8" in refusal(FIRST + CONTENT + LAST, f"{CONTENT_TYPE}; charset={charset}")


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf8"'])
def test_a_form_may_say_that_it_is_in_utf8(charset: str) -> None:
    form = FIRST + b"\r\n\r\n" + "Fischotter, süß".encode() + LAST
    assert read(form, f"{CONTENT_TYPE}; charset={charset}") == {"field": "Fischotter, süß"}


@pytest.mark.parametrize("cut", range(1, len(CONTENT + LAST) - len(b"\r\n")))
def test_a_form_that_is_cut_off_is_refused(cut: int) -> None:
    assert "cut off" in refusal((FIRST + CONTENT + LAST.removesuffix(b"\r\n"))[:-cut])


@pytest.mark.parametrize(
    "form", [b"--y", b"otter", FIRST + b"\r\nno colon" + CONTENT + LAST, b"--x\n" + DISPOSITION + CONTENT + LAST]
)
def test_what_is_no_form_is_refused(form: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Request, "form", None)
    assert "not a form" in refusal(form)


def test_a_form_is_read_without_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_disk(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(tempfile, "_TemporaryFileWrapper", no_disk)
    monkeypatch.setattr(tempfile, "TemporaryFile", no_disk)
    content = b"otter" * MIB
    assert read(FIRST + b'; filename="f"\r\n\r\n' + content + LAST) == {"field": content}


def test_a_bad_form_is_not_quoted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    refusal(b"--x\r\nott\\er" + CONTENT + LAST)
    assert caplog.text == ""
