"""`/api/v1/images`: Nebula Block's dialect, one route that makes, edits and repaints, with base64 in and out.

An adapter and nothing else: wire model in, `Order` inside, wire model out. Its errors are of another shape, which
`serve_app.errors` gives to every path below the prefix.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from deployments.errors import InvalidRequest
from deployments.models.registry import FAMILIES
from deployments.types import MAX_SEED
from serve_app.auth import AskedBy
from serve_app.backend import Backend
from serve_app.dialects.fields import (
    IGNORED_PARAMETERS_HEADER,
    PROMPT_MEANING,
    GuidanceScale,
    NegativePrompt,
    OrNull,
    Prompt,
    Steps,
    Strength,
    WireModel,
)
from serve_app.dialects.picture_data import PictureData, to_base64
from serve_app.dialects.pings import answer_pings
from serve_app.dialects.request_bodies import documented_body, read_json
from serve_app.dialects.sides import RANDOM_SEED, SeedOrRandom, Side, own_names, seed_or_none, side_to_blame
from serve_app.dialects.timings import COMPUTE_HEADER, QUEUE_HEADER, documented_timings, timings
from serve_app.errors import NEBULA_PREFIX, NebulaErrorEnvelope, documented
from serve_app.middleware import request_id
from serve_app.orders import Accepted, Order, accept, complete
from serve_app.routing import resolve


class GenerationBody(WireModel):
    """A picture to make from text, or from a picture and text."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "stabilityai/stable-diffusion-xl-base-1.0",
                    "prompt": "A cute baby sea otter",
                    "num_steps": 25,
                    "guidance_scale": 9,
                    "width": 1024,
                    "height": 1024,
                }
            ]
        }
    )

    model: str = Field(
        validation_alias=AliasChoices("model", "model_name"),
        description="A name or alias from `GET /v1/models`; also taken as `model_name`.",
        examples=["black-forest-labs/FLUX.1-schnell"],
    )
    prompt: Prompt = Field(description=PROMPT_MEANING, examples=["A cute baby sea otter"])
    negative_prompt: OrNull[NegativePrompt] = Field(
        default="", description="What the picture must not show, in up to 4,000 characters.", examples=["blurry"]
    )
    width: OrNull[Side] = Field(default=1024, description="In pixels, within the model's limits.", examples=[1024])
    height: OrNull[Side] = Field(default=1024, description="In pixels, within the model's limits.", examples=[1024])
    num_steps: Steps | None = Field(
        default=None, description="Denoising steps, by default the model's own choice.", examples=[25]
    )
    guidance_scale: GuidanceScale | None = Field(
        default=None,
        description="How strictly the prompt is followed, by default the model's own choice.",
        examples=[9],
    )
    seed: OrNull[SeedOrRandom] = Field(
        default=RANDOM_SEED, description="The same seed makes the same picture; -1 is a random one.", examples=[1]
    )
    image: PictureData | None = Field(
        default=None,
        validation_alias=AliasChoices("image", "input_image"),
        description="The picture to work on (PNG, JPEG or WebP); also taken as `input_image`.",
    )
    mask: PictureData | None = Field(
        default=None,
        validation_alias=AliasChoices("mask", "mask_image"),
        description="What of the image to repaint, as large as it: where it is white. Also taken as `mask_image`.",
    )
    strength: Strength | None = Field(
        default=None,
        description="How much is changed: by default 0.6 of the whole picture, all of what a mask marks.",
        examples=[0.7],
    )

    def to_order(self) -> Order:
        """What it asks for, in the inner vocabulary. Raises InvalidRequest for a mask of nothing."""
        if self.mask is not None and self.image is None:
            raise InvalidRequest("mask: it marks what of an image to repaint, and there is no image.", param="mask")
        return Order(
            model=self.model,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            size=(self.width, self.height),
            seed=seed_or_none(self.seed),
            steps=self.num_steps,
            guidance_scale=self.guidance_scale,
            image=self.image,
            mask=self.mask,
            mask_reads="white",
            strength=self.strength,
        )


class NebulaTimings(BaseModel):
    """How long it took."""

    inference: float = Field(description="Seconds from the first denoising step to the last pixel.", examples=[13.4])


class NebulaPicture(BaseModel):
    """The picture."""

    timings: NebulaTimings
    index: int = Field(description="From 0.", examples=[0])
    b64_json: str = Field(description="The picture file, a png, in base64.", examples=["iVBORw0KGgo="])
    seed: int = Field(ge=0, le=MAX_SEED, description="The seed it was made with.", examples=[1])


class NebulaAnswer(BaseModel):
    """A picture that was made."""

    model: str = Field(description="The canonical name.", examples=["black-forest-labs/FLUX.1-schnell"])
    object: Literal["list"] = "list"
    data: list[NebulaPicture] = Field(description="One picture.")
    message: str = Field(
        description="What happened; names the size where the model rounded it.",
        examples=["Image generated successfully"],
    )
    status: Literal["success"] = "success"


def create_router(backend: Backend) -> APIRouter:
    """The routes of this dialect over `backend`."""
    router = APIRouter(prefix=f"{NEBULA_PREFIX}/images", tags=["Images, as Nebula Block"])
    documentation: dict[str, Any] = {
        "openapi_extra": documented_body(GenerationBody, form=False),
        "responses": {
            200: documented_timings(QUEUE_HEADER, COMPUTE_HEADER),
            **documented(400, 401, 403, 404, 413, 415, 429, 500, 503, 504, envelope=NebulaErrorEnvelope),
        },
    }

    @router.get("/generation", summary="The same, as a GET with a body", **documentation)
    @router.post("/generation", summary="Make a picture from text, or from a picture and text", **documentation)
    async def generation(caller: AskedBy, request: Request, response: Response) -> NebulaAnswer:
        """Answers when the picture is made. A body on a GET is what Nebula Block's documentation shows; browsers cannot
        send it. Fields that are not known or have no meaning for the model are ignored and named in the header
        `Easel-Ignored-Parameters`."""
        body = await read_json(request, GenerationBody)
        order = body.to_order()
        route = resolve(order.model, backend.settings(), caller.models)
        with own_names(size=side_to_blame(route, (body.width, body.height))):
            async with accept(order, backend, request_id(request.scope), caller) as accepted:
                results = await complete(accepted, backend)
        if ignored := body.ignored_parameters(accepted.useless):
            response.headers[IGNORED_PARAMETERS_HEADER] = ignored
        response.headers.update(timings(results))
        return NebulaAnswer(
            model=accepted.route.name,
            data=[
                NebulaPicture(
                    timings=NebulaTimings(inference=result.inference_seconds),
                    index=index,
                    b64_json=to_base64(result.image),
                    seed=result.seed,
                )
                for index, result in enumerate(results)
            ],
            message=_message(order, accepted),
        )

    answer_pings(router, "/generation", "GET", "POST")
    return router


def _message(order: Order, accepted: Accepted) -> str:
    made = (accepted.requests[0].width, accepted.requests[0].height)
    if made == order.size:
        return "Image generated successfully"
    multiple = FAMILIES[accepted.route.family].size_multiple
    return (
        f"Image generated successfully with a width of {made[0]} and a height of {made[1]}: "
        f"{accepted.route.name} rounds both down to multiples of {multiple}"
    )
