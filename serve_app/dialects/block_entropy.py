"""`/v1/images`: Block Entropy's dialect, OpenAI's shapes with `n` as the seed and `user="cn"` for poses.

An adapter and nothing else: wire model in, `Order` inside, wire model out.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from serve_app.backend import Backend
from serve_app.dialects.fields import OrNull, ResponseFormat, Seed, Size
from serve_app.dialects.image_bodies import EditFields, ImageBody
from serve_app.dialects.image_routes import create_image_router

POSE_USER = "cn"


class GenerationBody(ImageBody):
    """A picture to make from text."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "A cute baby sea otter", "n": 1, "size": "1024x1024"}]}
    )

    n: Seed | None = Field(default=None, description="The seed, unless `seed` is sent.", examples=[1])
    num_images: OrNull[Annotated[int, Field(ge=1, le=10)]] = Field(
        default=1, description="How many pictures; each has the seed after its predecessor's.", examples=[2]
    )
    size: OrNull[Size] = Field(
        default="1024x1024",
        description="Width and height in pixels within the model's limits; `auto`: as the given picture, else the "
        "model's default.",
        examples=["512x512"],
    )
    response_format: OrNull[ResponseFormat] = Field(
        default="url",
        description="A link that answers for 60 minutes (unless set otherwise), or the picture in base64.",
        examples=["b64_json"],
    )

    @property
    def first_seed(self) -> int | None:
        return self.n if self.seed is None else self.seed

    @property
    def count(self) -> int:
        return self.num_images

    @property
    def wanted_size(self) -> str:
        return self.size

    @property
    def delivery(self) -> frozenset[ResponseFormat]:
        return frozenset([self.response_format])


class EditBody(EditFields, GenerationBody):
    """A picture to make from a picture and text; with `user` "cn", from the pose of its people and text."""

    model_config = ConfigDict(json_schema_extra={"examples": []})

    @property
    def wants_pose(self) -> bool:
        return self.user == POSE_USER


def create_router(backend: Backend) -> APIRouter:
    """The routes of this dialect over `backend`."""
    return create_image_router(backend, "/v1/images", "Images, `n` is the seed", GenerationBody, EditBody)
