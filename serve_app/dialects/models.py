"""`/v1/models`: the configured models as OpenAI lists them, with what each does and takes."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from config.schema import IngressSettings, Limits, ModelRoute
from deployments.models.registry import FAMILIES, Capability
from serve_app.auth import AllowedModels
from serve_app.backend import Backend
from serve_app.errors import documented
from serve_app.routing import allowed, require_allowed, resolve


class ModelLimits(Limits):
    """The limits of the configuration: of the model, of all models, and the one that the family brings."""

    size_multiple: int = Field(description="Width and height are multiples of it.", examples=[8])
    max_image_bytes: int = Field(description="Of an uploaded picture or mask.", examples=[4194304])


class Model(BaseModel):
    """One model."""

    id: str = Field(description="The canonical name.", examples=["stabilityai/stable-diffusion-xl-base-1.0"])
    object: Literal["model"] = "model"
    created: int = Field(default=0, description="Not known, so always 0; OpenAI's clients expect a number.")
    owned_by: str = Field(description="The first part of the name.", examples=["stabilityai"])
    aliases: tuple[str, ...] = Field(description="Other names of it.", examples=[["be-stable-diffusion-xl-base-1.0"]])
    is_default: bool = Field(description="Whether requests that name no model get this one.")
    capabilities: tuple[Capability, ...] = Field(description="What it does.")
    ignored_parameters: tuple[str, ...] = Field(
        description="Fields of a request that have no meaning for it.", examples=[["guidance_scale"]]
    )
    limits: ModelLimits = Field(description="What it takes.")


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model] = Field(description="In the order of the configuration.")


def create_router(backend: Backend, prefix: str) -> APIRouter:
    """The routes over the settings of `backend`."""
    router = APIRouter(prefix=f"{prefix}/models", tags=["Models"])

    @router.get("", summary="List the models")
    async def list_models(names: AllowedModels) -> ModelList:
        """Every configured model that the key is for, running or not."""
        settings = backend.settings()
        return ModelList(data=[describe(route, settings) for route in allowed(settings, names)])

    @router.get("/{name:path}", summary="Describe a model", responses=documented(403, 404))
    async def get_model(name: str, names: AllowedModels) -> Model:
        """One model by its name or an alias, in any case."""
        settings = backend.settings()
        route = resolve(name, settings, names)
        require_allowed([route], settings, names)
        return describe(route, settings)

    return router


def describe(route: ModelRoute, settings: IngressSettings) -> Model:
    """The wire form of a route of `settings`."""
    traits = FAMILIES[route.family]
    owner, slash, _ = route.name.partition("/")
    return Model(
        id=route.name,
        owned_by=owner if slash else "easel",
        aliases=route.aliases,
        is_default=route == resolve(None, settings),
        capabilities=traits.capabilities,
        ignored_parameters=traits.useless,
        limits=ModelLimits(
            **route.limits.model_dump(),
            size_multiple=traits.size_multiple,
            max_image_bytes=settings.max_image_bytes,
        ),
    )
