"""`/v1/images`: Block Entropy's dialect, OpenAI's shapes with `n` as the seed.

An adapter and nothing else: wire model in, `ImageRequest` inside, wire model out. Invariants: the seed of every
picture is fixed and reported before anything runs; several pictures succeed together or fail together.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import secrets
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from config.schema import IngressSettings, ModelRoute
from deployments.errors import InvalidRequest
from deployments.models.registry import FAMILIES
from deployments.types import ImageRequest, OutputFormat, Quality
from serve_app.backend import Backend
from serve_app.dialects.fields import (
    IGNORED_PARAMETERS_HEADER,
    MAX_SEED,
    GuidanceScale,
    NegativePrompt,
    OrNull,
    OutputCompression,
    Prompt,
    ResponseFormat,
    Seed,
    Size,
    Steps,
    WireModel,
    dimensions,
    utf8_body,
)
from serve_app.errors import documented
from serve_app.middleware import request_id
from serve_app.routing import check_size, check_steps, require_capability, resolve


class GenerationBody(WireModel):
    """A picture to make from text."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "A cute baby sea otter", "n": 1, "size": "1024x1024"}]}
    )

    prompt: Prompt = Field(
        description="What the picture shows.",
        examples=["A cute baby sea otter"],
    )
    model: str | None = Field(
        default=None,
        description="A name or alias from `GET /v1/models`; by default the service's own choice.",
        examples=["be-stable-diffusion-xl-base-1.0"],
    )
    n: Seed | None = Field(
        default=None, description="The seed; the same seed makes the same picture. By default random.", examples=[1]
    )
    seed: Seed | None = Field(default=None, description="The seed under its usual name; wins over `n`.", examples=[1])
    num_images: OrNull[Annotated[int, Field(ge=1, le=10)]] = Field(
        default=1, description="How many pictures; each has the seed after its predecessor's.", examples=[2]
    )
    negative_prompt: OrNull[NegativePrompt] = Field(
        default="",
        validation_alias=AliasChoices("negative_prompt", "negprompt"),
        description="What the picture must not show; also taken as `negprompt`.",
        examples=["blurry"],
    )
    quality: OrNull[Quality] = Field(
        default="smooth",
        description="A preset of steps and guidance; `auto` means `smooth`.",
        examples=["standard"],
    )
    size: OrNull[Size] = Field(
        default="1024x1024",
        description="Width and height in pixels within the model's limits, or `auto` for the model's default.",
        examples=["512x512"],
    )
    num_steps: Steps | None = Field(
        default=None,
        validation_alias=AliasChoices("num_steps", "num_inference_steps"),
        description="Denoising steps, by default the preset's; also taken as `num_inference_steps`.",
        examples=[30],
    )
    guidance_scale: GuidanceScale | None = Field(
        default=None, description="How strictly the prompt is followed, by default the preset's.", examples=[5.0]
    )
    response_format: OrNull[ResponseFormat] = Field(
        default="url",
        description="A link that answers for 60 minutes (unless set otherwise), or the picture in base64.",
        examples=["b64_json"],
    )
    output_format: OrNull[OutputFormat] = Field(
        default="png", description="The format of the picture file.", examples=["webp"]
    )
    output_compression: OrNull[OutputCompression] = Field(
        default=100, description="The quality of a jpeg or webp file, in percent.", examples=[90]
    )
    background: OrNull[Literal["auto", "opaque"]] = Field(
        default="auto", description="Pictures are opaque; a transparent background is refused.", examples=["opaque"]
    )
    stream: OrNull[bool] = Field(
        default=False, description="Streaming is not offered: `true` is refused.", examples=[False]
    )
    partial_images: OrNull[Annotated[int, Field(ge=0, le=3)]] = Field(
        default=0, description="Previews come with streaming only: above 0 is refused.", examples=[0]
    )
    user: str | None = Field(default=None, description="The caller's own id of its end user.", examples=["user-1234"])


class Picture(BaseModel):
    """What every picture's entry says, however the picture itself is delivered."""

    seed: int = Field(ge=0, le=MAX_SEED, description="The seed it was made with.", examples=[1])
    revised_prompt: None = Field(default=None, description="Always null: prompts are not rewritten.")


class LinkedPicture(Picture):
    """A picture delivered by link."""

    url: str = Field(
        description="Answers for 60 minutes (unless the service is set otherwise), without a key.",
        examples=["https://easel.example/images/4f1c.png?expires=1589481978&signature=9a2b"],
    )


class EmbeddedPicture(Picture):
    """A picture delivered within the answer."""

    b64_json: str = Field(description="The picture file in base64.", examples=["iVBORw0KGgo="])


class ImagesAnswer(BaseModel):
    """The pictures, in the order of their seeds."""

    created: int = Field(description="When they were finished, in Unix seconds.", examples=[1589478378])
    data: list[LinkedPicture | EmbeddedPicture] = Field(description="One entry for each picture.")


def create_router(backend: Backend) -> APIRouter:
    """The routes of this dialect over `backend`."""
    router = APIRouter(prefix="/v1/images", tags=["Images"])

    @router.post(
        "/generations",
        summary="Make pictures from text",
        dependencies=[Depends(utf8_body)],
        responses=documented(400, 404, 413, 500, 503, 504),
    )
    async def generations(body: GenerationBody, request: Request, response: Response) -> ImagesAnswer:
        """Answers when every picture is made. Fields that are not known are ignored and named in the header
        `Easel-Ignored-Parameters`."""
        settings = backend.settings()
        route = resolve(body.model, settings)
        base_url = str(settings.public_url or request.base_url).rstrip("/")

        async def picture(image_request: ImageRequest) -> LinkedPicture | EmbeddedPicture:
            result = await backend.generate(route, image_request)
            if body.response_format == "url":
                return LinkedPicture(seed=result.seed, url=await backend.keep(result, base_url))
            return EmbeddedPicture(seed=result.seed, b64_json=base64.b64encode(result.image).decode())

        requests = to_requests(body, route, settings, request_id(request.scope))
        tasks = [asyncio.ensure_future(picture(image_request)) for image_request in requests]
        try:
            data = await asyncio.gather(*tasks)
        finally:
            # After a failure the others still run: their pictures would be made for nobody.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if ignored := body.ignored_parameters(FAMILIES[route.family].useless):
            response.headers[IGNORED_PARAMETERS_HEADER] = ignored
        return ImagesAnswer(created=int(time.time()), data=data)

    @router.options("/generations", include_in_schema=False)
    async def ping() -> Response:
        """Some clients probe the route before they use it, without a key."""
        return Response(status_code=204, headers={"Allow": "OPTIONS, POST"})

    return router


def to_requests(
    body: GenerationBody, route: ModelRoute, settings: IngressSettings, identifier: str
) -> list[ImageRequest]:
    """One internal request for each picture asked for; refuses what the model cannot do."""
    for name, asked in (("stream", body.stream), ("partial_images", body.partial_images)):
        if asked:
            raise InvalidRequest(
                f"Streaming is not offered; leave '{name}' out.", code="unsupported_parameter", param=name
            )
    require_capability(route, "text-to-image")
    width, height = dimensions(route.limits.default_size if body.size == "auto" else body.size)
    check_size(route, width, height)
    if body.num_steps is not None:
        check_steps(route, body.num_steps)
    seed = body.n if body.seed is None else body.seed
    first = ImageRequest(
        request_id=identifier,
        model=route.name,
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        width=width,
        height=height,
        seed=secrets.randbelow(MAX_SEED + 1) if seed is None else seed,
        quality=body.quality,
        steps=body.num_steps,
        guidance_scale=body.guidance_scale,
        output_format=body.output_format,
        output_compression=body.output_compression,
        deadline=time.time() + settings.deadline_seconds,
    )
    # Seeds wrap around, so that every reported seed can be asked for again.
    return [first] + [
        dataclasses.replace(first, request_id=f"{identifier}-{index}", seed=(first.seed + index) % (MAX_SEED + 1))
        for index in range(1, body.num_images)
    ]
