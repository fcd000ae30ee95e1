"""Reads and documents request bodies: JSON, or a form with files that says the same.

Not FastAPI's own way, which takes either JSON or a form for a route, and Python's dialect of JSON with it.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from pydantic import BaseModel, ValidationError

from deployments.errors import BodyCompressed, InvalidRequest
from serve_app.dialects.fields import WireModel
from serve_app.dialects.forms import read_form
from serve_app.dialects.json_text import parse_json
from serve_app.dialects.picture_data import SCHEMA as PICTURE_SCHEMA
from serve_app.errors import BODY_EXPECTED

Body = TypeVar("Body", bound=WireModel)

FORM = "multipart/form-data"
BODY_OR_FORM_EXPECTED = f"{BODY_EXPECTED} Or it may be a form, sent as `{FORM}`."


async def read_json(request: Request, body_class: type[Body]) -> Body:
    """The body of a request that comes as JSON. Raises InvalidRequest and RequestValidationError."""
    return _validated(await _json(request, BODY_EXPECTED), body_class)


async def read_form_or_json(request: Request, body_class: type[Body]) -> Body:
    """The body of a request that may also come as a form. Raises InvalidRequest and RequestValidationError."""
    if _media_type(request) == FORM:
        _require_plain(request)
        return _validated_form(await read_form(request), body_class)
    return _validated(await _json(request, BODY_OR_FORM_EXPECTED), body_class)


def documented_body(body_class: type[WireModel], *, form: bool) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for a route that reads it; `form`: also as a form, where pictures are files."""
    content = {"application/json": {"schema": self_contained_schema(body_class)}}
    if form:
        schema = body_class.model_json_schema()
        schema.pop("$defs", None)  # of what is JSON in a text
        fields = {name: _as_form_field(field) for name, field in schema["properties"].items() if name != "images"}
        content[FORM] = {"schema": {**schema, "properties": fields}}
    return {"requestBody": {"required": True, "content": content}}


def self_contained_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of `model` without references, for a place in the document that FastAPI does not fill."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    inlined: dict[str, Any] = _without_references(schema, definitions)
    return inlined


def _without_references(schema: Any, definitions: dict[str, Any]) -> Any:
    """Definitions within a schema are out of reach once it is a part of the whole document."""
    if isinstance(schema, list):
        return [_without_references(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _without_references(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    return {name: _without_references(part, definitions) for name, part in schema.items()}


def _as_form_field(field: dict[str, Any]) -> dict[str, Any]:
    """A form knows no null and no objects: pictures are files, and other objects JSON in a text."""
    choices = [choice for choice in field.get("anyOf", [field]) if choice.get("type") != "null"]
    if choices == [PICTURE_SCHEMA] or choices == PICTURE_SCHEMA["anyOf"]:
        choice = {"type": "string", "format": "binary"}
    elif "$ref" in choices[0]:
        choice = {"type": "string", "contentMediaType": "application/json"}
    else:
        choice = choices[0]
    return {**{name: part for name, part in field.items() if name != "anyOf"}, **choice}


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _require_plain(request: Request) -> None:
    """A compressed body is not unpacked: a few bytes may become gigabytes."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise BodyCompressed("The body must be sent as it is, without `content-encoding`.")


async def _json(request: Request, expected: str) -> Any:
    """`expected` is what a body of another kind is told."""
    media_type = _media_type(request)
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise InvalidRequest(expected, code="invalid_body")
    _require_plain(request)
    try:
        text = (await request.body()).decode()
        if "\0" in text:  # UTF-16 and UTF-32, which Python's parser would take: their ASCII characters hold NUL bytes
            raise InvalidRequest("The body must be JSON in UTF-8.", code="invalid_json")
        return parse_json(text)
    except UnicodeDecodeError:
        raise InvalidRequest("The body must be JSON in UTF-8.", code="invalid_json") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error.msg}.", code="invalid_json") from None
    except ValueError:  # a number of thousands of digits, too
        raise InvalidRequest(
            "The body is nested too deeply, or holds too many values or too long a number.", code="invalid_json"
        ) from None


def _validated_form(values: dict[str, Any], body_class: type[Body]) -> Body:
    """A form has nothing but text: where a number or a truth value is wanted, it is read as JSON writes one.

    Not pydantic's own reading, which takes `1_000`, and the bytes of a file for text.
    """
    try:
        return body_class.model_validate(values)
    except ValidationError as error:
        for each in error.errors(include_input=False, include_url=False):
            name = ".".join(map(str, each["loc"]))
            if each["type"] in ("int_type", "float_type", "bool_type") and isinstance(values.get(name), str):
                values = {**values, name: _literal(values[name])}
    return _validated(values, body_class)


def _literal(text: str) -> Any:
    try:
        return parse_json(text.lower())  # True is how Python writes it
    except ValueError:
        return text


def _validated(values: Any, body_class: type[Body]) -> Body:
    try:
        return body_class.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_input=False, include_url=False)]
        ) from None
