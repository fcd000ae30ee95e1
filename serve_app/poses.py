"""From a photo to the people in it, without a picture made of them."""

from __future__ import annotations

import time
from functools import partial

from deployments.errors import InvalidRequest
from deployments.types import PoseSource, Skeleton
from serve_app.admission import check_bytes, permit
from serve_app.auth import Caller
from serve_app.backend import Backend
from serve_app.deadlines import by
from serve_app.routing import output_size, require_allowed, resolve


async def find_people(photo: bytes, backend: Backend, caller: Caller) -> Skeleton:
    """The people, as large as a picture of size `auto` that follows them. Raises an EaselError.

    For keys that may have the pose model, also by way of an SDXL model; to a quota it is one picture that takes no
    time of a device.
    """
    settings = backend.settings()
    deadline = time.time() + settings.deadline_seconds
    if settings.pose is None:
        raise InvalidRequest("This service finds no poses: it has no pose model.", code="unsupported_capability")
    check_bytes(photo, "image", settings)
    route = resolve(settings.pose.model, settings)
    require_allowed([route, *(each for each in settings.models if each.family == "sdxl")], settings, caller.models)
    async with permit(caller, 1, backend, deadline):
        look = partial(backend.measure, photo, "image", caller.name)
        own_size = await by(deadline, "The decoder of pictures", look)
        width, height = output_size(route, None, own_size)
        source = PoseSource(photo=photo)
        return await backend.draw_skeleton(settings.pose, source, width, height, deadline, caller.name)
