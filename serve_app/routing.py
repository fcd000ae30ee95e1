"""From the model name a client sends to the model's route, and what that model takes.

Checked here, at the ingress, so that a request that cannot succeed costs no GPU time. Knows neither Ray nor HTTP.
"""

from __future__ import annotations

from config.schema import IngressSettings, ModelRoute
from deployments.errors import InvalidRequest, NotFound
from deployments.models.registry import FAMILIES, Capability

SHOWN_NAME_CHARACTERS = 100


def resolve(name: str | None, settings: IngressSettings) -> ModelRoute:
    """The route of a model by name or alias, without regard to case; of the default model for None."""
    wanted = (settings.default_model if name is None else name).lower()
    for route in settings.models:
        if wanted in (known.lower() for known in (route.name, *route.aliases)):
            return route
    # The name is the caller's own text: clipped, and quoted by repr so that no control character or surrogate is sent.
    known_names = ", ".join(known for route in settings.models for known in (route.name, *route.aliases))
    raise NotFound(
        f"There is no model {wanted[:SHOWN_NAME_CHARACTERS]!r}. Known models: {known_names}.",
        code="model_not_found",
        param="model",
    )


def require_capability(route: ModelRoute, capability: Capability) -> None:
    """Refuses what no model of the family can do."""
    capabilities = FAMILIES[route.family].capabilities
    if capability not in capabilities:
        raise InvalidRequest(
            f"{route.name} does not do {capability}; it does {', '.join(capabilities)}.",
            code="unsupported_capability",
            param="model",
        )


def check_size(route: ModelRoute, width: int, height: int) -> None:
    """Refuses a picture outside the model's limits; the message names all of them."""
    limits, multiple = route.limits, FAMILIES[route.family].size_multiple
    short, long = sorted((width, height))
    fits = (
        limits.min_side <= short
        and long <= limits.max_side
        and width % multiple == height % multiple == 0
        and width * height <= limits.max_pixels
        and long <= short * limits.max_aspect
    )
    if not fits:
        raise InvalidRequest(
            f"{route.name} makes pictures whose sides are {limits.min_side} to {limits.max_side} pixels and multiples "
            f"of {multiple}, with at most {limits.max_pixels} pixels and an aspect of at most {limits.max_aspect:g}:1; "
            f"'size' asks for {width}x{height}.",
            param="size",
        )


def check_steps(route: ModelRoute, steps: int) -> None:
    """Refuses more denoising steps than the model is allowed."""
    if not 1 <= steps <= route.limits.max_steps:
        raise InvalidRequest(f"{route.name} takes 1 to {route.limits.max_steps} steps.", param="num_steps")
