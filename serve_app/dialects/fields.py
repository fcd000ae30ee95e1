"""The field types that all dialects share, and the base of their request bodies.

Strict: JSON types are not converted (`true`, `1.0` and `"1"` are no integers), numbers are finite, text is valid
Unicode. `null` is absent. An unknown field is accepted and can be named in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from deployments.types import MAX_SEED

IGNORED_PARAMETERS_HEADER = "Easel-Ignored-Parameters"
MAX_IGNORED_HEADER_CHARACTERS = 1024
MAX_FIELDS = 256
SIZE_PATTERN = r"^(auto|[1-9][0-9]{0,6}x[1-9][0-9]{0,6})$"

T = TypeVar("T")


class _OrNull:
    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def _sized(value: str) -> str:
    # re.ASCII digits only: int() would take full-width ones. fullmatch: `$` would let a line break pass.
    if not re.fullmatch(SIZE_PATTERN, value):
        raise PydanticCustomError("size", "must be WIDTHxHEIGHT in pixels, as 1024x1024, or auto")
    return value


# A field with a default that `null` stands for too; `WireModel` turns the one into the other.
OrNull = Annotated[T, _OrNull()]

# A length limit is also what makes pydantic refuse lone surrogates, which no encoder of ours could write out again.
# It counts after trimming, which a JSON schema cannot say, so there it is left out.
MAX_PROMPT_CHARACTERS = 4000
Prompt = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT_CHARACTERS),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
NegativePrompt = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=MAX_PROMPT_CHARACTERS),
    WithJsonSchema({"type": "string"}),
]
PROMPT_MEANING = (
    "What the picture shows, in up to 4,000 characters after trimming. `word(1.5)`, `(some words)0.5` and "
    "`(some words:1.3)` weigh words, from 0 to 2; `\\(` is a parenthesis."
)
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Size = Annotated[str, AfterValidator(_sized), WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN})]
Steps = Annotated[int, Field(ge=1, le=100)]
GuidanceScale = Annotated[float, Field(ge=0, le=30)]
Strength = Annotated[float, Field(gt=0, le=1)]
OutputCompression = Annotated[int, Field(ge=0, le=100)]
ResponseFormat = Literal["url", "b64_json"]


class WireModel(BaseModel):
    """Base of every request body."""

    # hide_input_in_errors: a validation error that ends in a log must not carry the prompt there.
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, values: object) -> object:
        if isinstance(values, dict):
            if len(values) > MAX_FIELDS:  # each is a model attribute: a million of them would hold up everybody
                raise PydanticCustomError("too_many_fields", "must have at most {most} fields", {"most": MAX_FIELDS})
            return {name: value for name, value in values.items() if value is not None}
        return values

    def __repr_args__(self) -> tuple[()]:
        return ()  # what a person wrote is not for a log

    def ignored_parameters(self, useless: Collection[str] = ()) -> str:
        """The names of the fields that nothing was done with, fit for a header.

        `useless` are known fields that have no meaning for this request's model.
        """
        sent = self.model_fields_set & type(self).model_fields.keys()
        ignored = (*(name for name in useless if name in sent), *(self.model_extra or ()))
        names = (re.sub(r"[^\w.-]", "?", name[:MAX_IGNORED_HEADER_CHARACTERS], flags=re.ASCII) for name in ignored)
        return ", ".join(names)[:MAX_IGNORED_HEADER_CHARACTERS]
