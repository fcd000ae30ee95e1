"""Pictures within requests, as a part of a form, base64 or a data URL, and within answers.

No URL is ever fetched on a caller's behalf.
"""

from __future__ import annotations

import base64
import binascii
import string
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_LONGEST_SCHEME = 32
_WHITESPACE = string.whitespace.encode()
# The escapes that base64 can need, in either case.
_ESCAPES = {
    escape: character.encode()
    for character in "+/=\r\n "
    for escape in {b"%%%02X" % ord(character), b"%%%02x" % ord(character)}
}


def _picture_bytes(value: object) -> bytes:
    """From what a body holds. OpenAI wraps a data URL as `{"image_url": …}`."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if isinstance(value, list):
        raise PydanticCustomError("picture", "must be one picture; several are not taken")
    if isinstance(value, dict) and "image_url" in value:
        value = value["image_url"]
    elif isinstance(value, dict) and "file_id" in value:
        raise PydanticCustomError("picture", "must be a picture within the request; there are no uploaded files here")
    if isinstance(value, bytes) and value:
        return value
    if not isinstance(value, str) or not value:
        raise PydanticCustomError("picture", "must be a picture: a file, base64 or a data URL")
    scheme, colon, _ = value[:_LONGEST_SCHEME].partition(":")
    is_data_url = bool(colon) and scheme.lower() == "data"
    if colon and not is_data_url:
        raise PydanticCustomError("picture", "must be a picture within the request; addresses are not fetched")
    head, comma, data = value.partition(",") if is_data_url else ("", "", value)
    if is_data_url and not (comma and head.lower().endswith(";base64")):
        raise PydanticCustomError("picture", "must be a data URL with base64, as data:image/png;base64,iVBORw…")
    try:
        text = _without_escapes(data.encode("ascii")) if is_data_url else data.encode("ascii")
        text = text.translate(_URL_SAFE, _WHITESPACE).rstrip(b"=")
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):  # ValueError: it is not ASCII
        raise PydanticCustomError("picture", "must be base64 or a data URL with base64") from None


def _without_escapes(text: bytes) -> bytes:
    """Any escape that base64 does not need stays, and is no base64.

    Not urllib's `unquote`, which takes 180 times the memory of a text of percent signs, and half a second for 1 MiB.
    """
    if 0 < text.count(b"%") <= len(text) // 3:  # more cannot be escapes, and need no search for each
        for escape, character in _ESCAPES.items():
            text = text.replace(escape, character)
    return text


def to_base64(picture: bytes) -> str:
    """A picture as an answer holds it."""
    return base64.b64encode(picture).decode()


SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "description": "Base64, bare or as a data URL."},
        {
            "type": "object",
            "description": "OpenAI's wrapping of a data URL.",
            "properties": {"image_url": {"type": "string", "minLength": 1}},
            "required": ["image_url"],
        },
    ]
}
PictureData = Annotated[bytes, BeforeValidator(_picture_bytes), WithJsonSchema(SCHEMA)]
