"""From the model name a client sends to the model's route, and what that model takes.

Checked here, at the ingress, so that a request that cannot succeed costs no GPU time. Knows neither Ray nor HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from config.schema import IngressSettings, Limits, ModelRoute, dimensions
from deployments.errors import Forbidden, InvalidRequest, NotFound
from deployments.models.registry import FAMILIES, Capability

SHOWN_NAME_CHARACTERS = 100


def resolve(name: str | None, settings: IngressSettings, names: Collection[str] | None = None) -> ModelRoute:
    """The route of a model by name or alias, without regard to case; of the default model for None.

    Raises NotFound, which tells of those with a name among `names` alone. Whether the one found is one of them is for
    `require_allowed`.
    """
    wanted = (settings.default_model if name is None else name).lower()
    for route in settings.models:
        if _is_called(route, [wanted]):
            return route
    # The name is the caller's own text: clipped, and quoted by repr so that no control character or surrogate is sent.
    known_names = ", ".join(known for route in allowed(settings, names) for known in (route.name, *route.aliases))
    raise NotFound(
        f"There is no model {wanted[:SHOWN_NAME_CHARACTERS]!r}. Known models: {known_names}.",
        code="model_not_found",
        param="model",
    )


def allowed(settings: IngressSettings, names: Collection[str] | None) -> list[ModelRoute]:
    """The models that have a name or alias among `names`, without regard to case; all for None."""
    lowered = None if names is None else {name.lower() for name in names}
    return [route for route in settings.models if lowered is None or _is_called(route, lowered)]


def require_allowed(routes: Sequence[ModelRoute], settings: IngressSettings, names: Collection[str] | None) -> None:
    """Raises Forbidden, which tells of the first, where none of `routes` has a name among `names`; see `allowed`."""
    may_use = allowed(settings, names)
    if not any(route in may_use for route in routes):
        is_default = routes[0] == resolve(None, settings)
        default = ", the model of requests that name none" if is_default else ""
        raise Forbidden(
            f"This API key is not for {routes[0].name}{default}. It is for: "
            f"{', '.join(route.name for route in may_use) or 'no model'}.",
            code="model_not_allowed",
            param="model",
        )


def _is_called(route: ModelRoute, names: Collection[str]) -> bool:
    """Whether one of `names`, in lower case, is the model's."""
    return any(known.lower() in names for known in (route.name, *route.aliases))


def require_capability(route: ModelRoute, capability: Capability) -> None:
    """Refuses what no model of the family can do."""
    capabilities = FAMILIES[route.family].capabilities
    if capability not in capabilities:
        raise InvalidRequest(
            f"{route.name} does not do {capability}; it does {', '.join(capabilities)}.",
            code="unsupported_capability",
            param="model",
        )


def output_size(
    route: ModelRoute,
    asked: tuple[int, int] | None,
    given: tuple[int, int] | None,
    *,
    any_multiple: bool = False,
    given_as: str = "image",
) -> tuple[int, int]:
    """Width and height to make: those asked for, else those of the given picture, else the model's default.

    A given picture's size is scaled into the model's limits, and brought to its multiple unless `any_multiple`. Raises
    InvalidRequest, which names `size` or the field `given_as`, for what the model cannot make.
    """
    traits = FAMILIES[route.family]
    if asked is None and given is not None:
        size = _scaled_into(route.limits, given, 1 if any_multiple else traits.size_multiple)
        _check_size(route, size, multiple=1, param=given_as)
        return size
    if asked is None:
        asked = dimensions(route.limits.default_size)
    if asked == given and any_multiple and not traits.rounds_size:
        _check_size(route, asked, multiple=1, param="size")
        return asked
    if traits.rounds_size:
        asked = _rounded_down(asked, traits.size_multiple)
    _check_size(route, asked, traits.size_multiple, param="size")
    return asked


def _scaled_into(limits: Limits, size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Proportions are kept as far as the multiple allows; a size that fits is not changed but for that."""
    width, height = size
    shrink = min(1.0, limits.max_side / max(size), math.sqrt(limits.max_pixels / (width * height)))
    grow = max(1.0, limits.min_side / min(size))
    if shrink < 1.0 or grow == 1.0:
        return _rounded_down((int(width * shrink), int(height * shrink)), multiple)
    upwards = (-math.ceil(width * grow), -math.ceil(height * grow))
    return -(upwards[0] // multiple) * multiple, -(upwards[1] // multiple) * multiple


def _rounded_down(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    width, height = (max(multiple, side // multiple * multiple) for side in size)
    return width, height


def _check_size(route: ModelRoute, size: tuple[int, int], multiple: int, param: str) -> None:
    """Refuses a picture outside the model's limits; the message names all of them."""
    limits, (width, height) = route.limits, size
    short, long = sorted(size)
    fits = (
        limits.min_side <= short
        and long <= limits.max_side
        and width % multiple == height % multiple == 0
        and width * height <= limits.max_pixels
        and long <= short * limits.max_aspect
    )
    if not fits:
        multiples = f" and multiples of {multiple}" if multiple > 1 else ""
        raise InvalidRequest(
            f"Invalid '{param}': {route.name} makes pictures whose sides are {limits.min_side} to {limits.max_side} "
            f"pixels{multiples}, with at most {limits.max_pixels} pixels and an aspect of at most "
            f"{limits.max_aspect:g}:1; {width}x{height} is not such a size.",
            param=param,
        )


def check_steps(route: ModelRoute, steps: int) -> None:
    """Refuses more denoising steps than the model is allowed."""
    if not 1 <= steps <= route.limits.max_steps:
        raise InvalidRequest(f"{route.name} takes 1 to {route.limits.max_steps} steps.", param="num_steps")
