"""Reads forms with files, `multipart/form-data`, within bounds that no honest form comes near.

The parser, in Python, searches content as a whole and steps through all else, some of it byte by byte, on the event
loop. So the latter is limited before Starlette reads the form. Invariant: what a form says of a file's name and type is
not looked at.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict

from fastapi.requests import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from deployments.errors import InvalidRequest
from serve_app.dialects.fields import MAX_FIELDS

MAX_FILES = 20
MAX_TEXT_BYTES = 2**31  # of a field: a picture may be base64, and the whole body has a limit of its own
MAX_BOUNDARY_BYTES = 70  # RFC 2046, 5.1.1
MAX_HEAD_BYTES = 64 * 2**10  # of all parts together, with the boundaries and what precedes the first
_STRIDE_BYTES = 16 * 2**10
logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each bad form, and quotes it
_LIST_SUFFIX = re.compile(r"\[\d*\]$")  # image[], as OpenAI's SDKs write it, and image[0], as others do


class _Parser(MultiPartParser):
    spool_max_size = MAX_TEXT_BYTES  # in memory: the whole body is there already, and a disk may be full


async def read_form(request: Request) -> dict[str, str | bytes | list[str | bytes]]:
    """Texts and files by name; a list where a name comes several times. Raises InvalidRequest and HTTPException."""
    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):  # punycode takes half a minute for 1 MiB
        raise _refusal("The body must be a form in UTF-8.")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= MAX_BOUNDARY_BYTES:
        raise _refusal(f"The content type of a form must name its boundary, of 1 to {MAX_BOUNDARY_BYTES} characters.")
    _check_bounds(await request.body(), boundary)
    values: dict[str, list[str | bytes]] = defaultdict(list)
    parser = _Parser(
        request.headers,
        request.stream(),
        max_files=MAX_FILES,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_TEXT_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _refusal(f"The body is not a form that can be read: {error.message}") from None
    try:
        for name, value in form.multi_items():
            content, file_name = (await value.read(), value.filename) if isinstance(value, UploadFile) else (value, "")
            if content or file_name:  # empty and nameless is what a browser sends for a field left blank
                values[_LIST_SUFFIX.sub("", name)].append(content)
    finally:
        await form.close()
    return {name: contents[0] if len(contents) == 1 else contents for name, contents in values.items()}


def _check_bounds(form: bytes, boundary: bytes) -> None:
    """Raises InvalidRequest for a form of too many parts or too large heads, and for one that is cut off or none.

    Starlette takes a form whose last part does not end, and leaves that part out.
    """
    if form.count(b"\r\n--" + boundary) > MAX_FIELDS + MAX_FILES + 1:
        raise _refusal(f"A form must have at most {MAX_FIELDS} fields and {MAX_FILES} files.")
    content_bytes = 0
    is_whole = False

    def on_part_data(_: bytes, start: int, end: int) -> None:
        nonlocal content_bytes
        content_bytes += end - start

    def on_end() -> None:
        nonlocal is_whole
        is_whole = True

    try:
        parser = MultipartParser(boundary, {"on_part_data": on_part_data, "on_end": on_end})
        for start in range(0, len(form), _STRIDE_BYTES):
            stride = form[start : start + _STRIDE_BYTES]
            parser.write(stride)
            if is_whole:
                return
            if start + len(stride) - content_bytes > MAX_HEAD_BYTES:
                raise _refusal(f"The heads of a form's parts must have at most {MAX_HEAD_BYTES} bytes together.")
    except FormParserError:
        raise _refusal("The body is not a form in the way that its content type says.") from None
    raise _refusal("The body is a form that is cut off.")


def _refusal(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_body")
