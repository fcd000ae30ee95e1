"""`/openai/v1/images`: OpenAI's own meanings, so that clients written for OpenAI work unchanged.

`n` is the number of pictures, no size is `auto`, and no `response_format` delivers both forms, since clients differ in
which they need. An adapter and nothing else: wire model in, `Order` inside, wire model out.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from serve_app.backend import Backend
from serve_app.dialects.fields import OrNull, ResponseFormat, Size
from serve_app.dialects.image_bodies import EditFields, ImageBody
from serve_app.dialects.image_routes import create_image_router

# OpenAI's models of these names answer in base64 alone, and a client that sees a link uses it.
BASE64_MODELS = ("gpt-image", "chatgpt-image")


class GenerationBody(ImageBody):
    """Pictures to make from text."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "A cute baby sea otter", "n": 1}]})

    n: OrNull[Annotated[int, Field(ge=1, le=10)]] = Field(
        default=1, description="How many pictures; each has the seed after its predecessor's.", examples=[2]
    )
    size: OrNull[Size] = Field(
        default="auto",
        description="Width and height in pixels within the model's limits; `auto`: as the given picture, else the "
        "model's default.",
        examples=["1024x1024"],
    )
    response_format: ResponseFormat | None = Field(
        default=None, description="`url` or `b64_json`; by default both.", examples=["b64_json"]
    )

    @property
    def first_seed(self) -> int | None:
        return self.seed

    @property
    def count(self) -> int:
        return self.n

    @property
    def wanted_size(self) -> str:
        return self.size

    @property
    def delivery(self) -> frozenset[ResponseFormat]:
        if self.response_format is not None:
            return frozenset([self.response_format])
        if self.model is not None and self.model.lower().startswith(BASE64_MODELS):
            return frozenset(["b64_json"])
        return frozenset(["b64_json", "url"])


class EditBody(EditFields, GenerationBody):
    """Pictures to make from a picture and text."""

    model_config = ConfigDict(json_schema_extra={"examples": []})


def create_router(backend: Backend) -> APIRouter:
    """The routes of this dialect over `backend`."""
    return create_image_router(backend, "/openai/v1/images", "Images, as OpenAI", GenerationBody, EditBody)
