"""`/sdapi/v1`: as much of AUTOMATIC1111's API as its clients need to make pictures from text.

An adapter and nothing else: wire model in, `Order` inside, wire model out. Here is what makes pictures; what clients
look up before is in `automatic1111_settings`. Invariant: a field that is not known is not sent back, since clients send
passwords among them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from config.schema import ModelRoute, dimensions
from deployments.errors import InvalidRequest
from deployments.types import ImageResult
from serve_app.auth import AskedBy
from serve_app.backend import Backend
from serve_app.dialects import automatic1111_settings
from serve_app.dialects.automatic1111_settings import AUTOMATIC, OptionsBody
from serve_app.dialects.fields import (
    IGNORED_PARAMETERS_HEADER,
    PROMPT_MEANING,
    GuidanceScale,
    NegativePrompt,
    OrNull,
    Prompt,
    Steps,
    WireModel,
)
from serve_app.dialects.picture_data import to_base64
from serve_app.dialects.pings import answer_pings
from serve_app.dialects.request_bodies import documented_body, read_json
from serve_app.dialects.sides import RANDOM_SEED, SeedOrRandom, Side, own_names, seed_or_none, side_to_blame
from serve_app.dialects.timings import COMPUTE_HEADER, QUEUE_HEADER, documented_timings, timings
from serve_app.errors import documented
from serve_app.middleware import request_id
from serve_app.orders import Order, accept, complete
from serve_app.routing import resolve

MAX_PICTURES = 10
OWN_NAMES = {"num_steps": "steps", "guidance_scale": "cfg_scale"}  # of what the order calls otherwise
NOT_USED = ("sampler_name", "scheduler")

_Count = Annotated[int, Field(ge=1, le=MAX_PICTURES)]


class TextToImageBody(WireModel):
    """Pictures to make from text."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "A cute baby sea otter", "steps": 20, "width": 512, "height": 512}]}
    )

    prompt: Prompt = Field(description=PROMPT_MEANING, examples=["A cute baby sea otter"])
    model: str | None = Field(
        default=None,
        description="A `title` from `sd-models`; by default as `override_settings` says, else the service's choice.",
        examples=["stabilityai/stable-diffusion-xl-base-1.0"],
    )
    override_settings: OptionsBody | None = Field(
        default=None,
        description="AUTOMATIC1111's place for a model: `sd_model_checkpoint`.",
        examples=[{"sd_model_checkpoint": "stabilityai/stable-diffusion-xl-base-1.0"}],
    )
    negative_prompt: OrNull[NegativePrompt] = Field(
        default="", description="What the picture must not show, in up to 4,000 characters.", examples=["blurry"]
    )
    width: Side | None = Field(
        default=None, description="In pixels, within the model's limits; by default the model's own.", examples=[512]
    )
    height: Side | None = Field(
        default=None, description="In pixels, within the model's limits; by default the model's own.", examples=[512]
    )
    steps: Steps | None = Field(
        default=None, description="Denoising steps, by default the model's own choice.", examples=[20]
    )
    cfg_scale: GuidanceScale | None = Field(
        default=None,
        description="How strictly the prompt is followed, by default the model's own choice.",
        examples=[7],
    )
    seed: OrNull[SeedOrRandom] = Field(
        default=RANDOM_SEED, description="The same seed makes the same picture; -1 is a random one.", examples=[1]
    )
    batch_size: OrNull[_Count] = Field(
        default=1, description="How many pictures; each has the seed after its predecessor's.", examples=[2]
    )
    n_iter: OrNull[_Count] = Field(
        default=1, description=f"How many times as many; at most {MAX_PICTURES} in all.", examples=[1]
    )
    sampler_name: str | None = Field(
        default=None, description="Taken and not used: the model's own is.", examples=[AUTOMATIC]
    )
    scheduler: str | None = Field(
        default=None, description="Taken and not used: the model's own is.", examples=[AUTOMATIC]
    )

    @property
    def checkpoint(self) -> tuple[str | None, str]:
        """The model asked for, and the field that names it."""
        if self.model is None and self.override_settings is not None:
            return self.override_settings.sd_model_checkpoint, "override_settings.sd_model_checkpoint"
        return self.model, "model"

    def size(self, route: ModelRoute) -> tuple[int, int]:
        """Width and height, where a side that is not given is the model's own."""
        width, height = dimensions(route.limits.default_size)
        return self.width or width, self.height or height

    def to_order(self, route: ModelRoute) -> Order:
        """What it asks for, in the inner vocabulary. Raises InvalidRequest for too many pictures."""
        if self.batch_size * self.n_iter > MAX_PICTURES:
            raise InvalidRequest(f"n_iter: at most {MAX_PICTURES} pictures are made at once.", param="n_iter")
        return Order(
            model=route.name,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            size=self.size(route),
            seed=seed_or_none(self.seed),
            count=self.batch_size * self.n_iter,
            steps=self.steps,
            guidance_scale=self.cfg_scale,
        )

    def ignored_parameters(self, useless: Collection[str] = ()) -> str:
        ignored = [super().ignored_parameters([*(OWN_NAMES.get(name, name) for name in useless), *NOT_USED])]
        if self.override_settings is not None and (names := self.override_settings.ignored_parameters()):
            ignored += [f"override_settings.{name}" for name in names.split(", ")]
        return ", ".join(filter(None, ignored))


class TextToImageAnswer(BaseModel):
    """The pictures, in the order of their seeds."""

    images: list[str] = Field(description="The picture files, each a png, in base64.", examples=[["iVBORw0KGgo="]])
    parameters: dict[str, Any] = Field(description="What they were made with.")
    info: str = Field(description="The same with all seeds, as JSON in a text.", examples=['{"all_seeds": [1]}'])


def create_router(backend: Backend) -> APIRouter:
    """The routes of this dialect over `backend`."""
    router = APIRouter(prefix="/sdapi/v1", tags=["Images, as AUTOMATIC1111"])

    @router.post(
        "/txt2img",
        summary="Make pictures from text",
        openapi_extra=documented_body(TextToImageBody, form=False),
        responses={
            200: documented_timings(QUEUE_HEADER, COMPUTE_HEADER),
            **documented(400, 401, 403, 404, 413, 429, 500, 503, 504),
        },
    )
    async def text_to_image(caller: AskedBy, request: Request, response: Response) -> TextToImageAnswer:
        """Answers when every picture is made. Fields that are not known or have no meaning for the model are ignored
        and named in the header `Easel-Ignored-Parameters`."""
        body = await read_json(request, TextToImageBody)
        checkpoint, model_field = body.checkpoint
        with own_names(model=model_field):
            route = resolve(checkpoint, backend.settings(), caller.models)
            with own_names(size=side_to_blame(route, body.size(route)), **OWN_NAMES):
                async with accept(body.to_order(route), backend, request_id(request.scope), caller) as accepted:
                    results = await complete(accepted, backend)
        if ignored := body.ignored_parameters(accepted.useless):
            response.headers[IGNORED_PARAMETERS_HEADER] = ignored
        response.headers.update(timings(results))
        parameters = _parameters(body, route, results[0])
        seeds = [result.seed for result in results]
        return TextToImageAnswer(
            images=[to_base64(result.image) for result in results],
            parameters=parameters,
            info=json.dumps(
                {
                    **parameters,
                    "all_prompts": [body.prompt] * len(seeds),
                    "all_negative_prompts": [body.negative_prompt] * len(seeds),
                    "all_seeds": seeds,
                    "infotexts": [_infotext({**parameters, "seed": seed}) for seed in seeds],
                    "index_of_first_image": 0,
                }
            ),
        )

    answer_pings(router, "/txt2img", "POST")
    router.include_router(automatic1111_settings.create_router(backend))
    return router


def _parameters(body: TextToImageBody, route: ModelRoute, result: ImageResult) -> dict[str, Any]:
    """What a picture was made with."""
    return {
        "prompt": body.prompt,
        "negative_prompt": body.negative_prompt,
        "seed": result.seed,
        "width": result.width,
        "height": result.height,
        "sampler_name": AUTOMATIC,
        "cfg_scale": result.guidance_scale,
        "steps": result.steps,
        "batch_size": body.batch_size,
        "n_iter": body.n_iter,
        "sd_model_name": route.name,
    }


def _infotext(parameters: dict[str, Any]) -> str:
    """The parameters in the words that AUTOMATIC1111 writes into its files."""
    return (
        "{prompt}\nNegative prompt: {negative_prompt}\nSteps: {steps}, Sampler: {sampler_name}, "
        "CFG scale: {cfg_scale:g}, Seed: {seed}, Size: {width}x{height}, Model: {sd_model_name}"
    ).format(**parameters)
