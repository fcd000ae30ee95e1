"""What clients of AUTOMATIC1111's API look up and set before they make a picture.

Invariant: nothing here changes anything. That API was made for one person's own server, where `options` loads another
model for everybody; here a request names its model itself, and `options` refuses what it would not do, so that nobody
believes it was done.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from deployments.errors import InvalidRequest
from deployments.models.registry import FAMILIES
from serve_app.auth import AllowedModels
from serve_app.backend import Backend
from serve_app.dialects.fields import IGNORED_PARAMETERS_HEADER, WireModel
from serve_app.dialects.request_bodies import documented_body, read_json
from serve_app.dialects.sides import own_names
from serve_app.errors import documented
from serve_app.routing import allowed, require_allowed, resolve

AUTOMATIC = "Automatic"


class OptionsBody(WireModel):
    """Settings of the server, of which there is one."""

    sd_model_checkpoint: str | None = Field(
        default=None, description="A name or alias of a model.", examples=["stabilityai/stable-diffusion-xl-base-1.0"]
    )


class Checkpoint(BaseModel):
    """A model that makes pictures from text."""

    title: str = Field(description="The name to ask for it.", examples=["stabilityai/stable-diffusion-xl-base-1.0"])
    model_name: str = Field(description="The same.")
    name: str = Field(description="The same: Block Entropy's clients read it.")
    filename: str = Field(description="The same: no file of it is known here.")
    hash: None = None
    sha256: None = None
    config: None = None


class Options(BaseModel):
    """The settings in force."""

    sd_model_checkpoint: str = Field(
        description="The model of a request that names none.", examples=["stabilityai/stable-diffusion-xl-base-1.0"]
    )


class Sampler(BaseModel):
    """A way to denoise."""

    name: str = Field(examples=[AUTOMATIC])
    aliases: list[str] = []
    options: dict[str, Any] = {}


class Scheduler(BaseModel):
    """A schedule of noise."""

    name: str = Field(examples=["automatic"])
    label: str = Field(examples=[AUTOMATIC])


class Upscaler(BaseModel):
    """A way to make a picture larger."""

    name: str = Field(examples=["None"])


class ProgressState(BaseModel):
    """Of all callers' work, none of which is told."""

    job_count: int = 0


class ProgressAnswer(BaseModel):
    """How far the server's only job would be."""

    progress: float = 0.0
    eta_relative: float = 0.0
    state: ProgressState = ProgressState()
    current_image: None = None


def create_router(backend: Backend) -> APIRouter:
    """These routes over the settings of `backend`, without a prefix."""
    router = APIRouter()

    @router.get("/options", summary="Show the settings")
    async def get_options() -> Options:
        """They are the same for all callers and change with the service's configuration alone."""
        return Options(sd_model_checkpoint=resolve(None, backend.settings()).name)

    @router.post(
        "/options",
        summary="Ask for settings",
        openapi_extra=documented_body(OptionsBody, form=False),
        responses=documented(400, 403, 404),
    )
    async def set_options(request: Request, response: Response, names: AllowedModels) -> Options:
        """Changes nothing, since that would change what other callers get, and answers with the settings in force. The
        model in force may be asked for; another one is refused, and is chosen by `model` or `override_settings` of
        `txt2img` instead. Other settings are ignored and named in the header `Easel-Ignored-Parameters`."""
        body = await read_json(request, OptionsBody)
        settings = backend.settings()
        in_force = resolve(None, settings)
        with own_names(model="sd_model_checkpoint"):
            asked = resolve(body.sd_model_checkpoint, settings, names)
            require_allowed([asked], settings, names)
        if asked is not in_force:
            raise InvalidRequest(
                f"sd_model_checkpoint: the model for all callers stays {in_force.name}; send {asked.name} as `model`, "
                "or in `override_settings`, with each txt2img request.",
                code="unsupported_option",
                param="sd_model_checkpoint",
            )
        if ignored := body.ignored_parameters():
            response.headers[IGNORED_PARAMETERS_HEADER] = ignored
        return Options(sd_model_checkpoint=in_force.name)

    @router.get("/sd-models", summary="List the models that make pictures from text")
    async def list_models(names: AllowedModels) -> list[Checkpoint]:
        """Those that the key is for, running or not, in the order of the configuration."""
        return [
            Checkpoint(title=route.name, model_name=route.name, name=route.name, filename=route.name)
            for route in allowed(backend.settings(), names)
            if "text-to-image" in FAMILIES[route.family].capabilities
        ]

    @router.get("/samplers", summary="List the samplers")
    async def list_samplers() -> list[Sampler]:
        """One: each model has its own."""
        return [Sampler(name=AUTOMATIC)]

    @router.get("/schedulers", summary="List the schedules")
    async def list_schedulers() -> list[Scheduler]:
        """One: each model has its own."""
        return [Scheduler(name=AUTOMATIC.lower(), label=AUTOMATIC)]

    @router.get("/upscalers", summary="List the upscalers")
    async def list_upscalers() -> list[Upscaler]:
        """The one that does nothing, which clients expect to come first."""
        return [Upscaler(name="None")]

    @router.get("/latent-upscale-modes", summary="List the latent upscalers")
    async def list_latent_upscale_modes() -> list[Upscaler]:
        """None."""
        return []

    @router.get("/sd-vae", summary="List the autoencoders")
    async def list_autoencoders() -> list[Checkpoint]:
        """None to choose from: each model has its own."""
        return []

    @router.get("/progress", summary="Show how far a picture is")
    async def get_progress() -> ProgressAnswer:
        """Always idle: many callers' pictures form at once, and one caller's are not shown to another."""
        return ProgressAnswer()

    @router.post("/interrupt", summary="Interrupt the server's work")
    async def interrupt() -> dict[str, Any]:
        """Does nothing, since it would stop other callers' work: closing the connection stops one's own."""
        return {}

    @router.head("/options", include_in_schema=False)
    @router.options("/options", include_in_schema=False)
    async def ping() -> Response:
        """Some clients probe a route before they use it, without a key."""
        return Response(headers={"Allow": "GET, HEAD, OPTIONS, POST"})

    return router
