"""An order on its way: what a caller asked for, in whatever dialect, to requests that a model can run, to its pictures.

    async with accept(Order) as Accepted: route, one ImageRequest a picture, the skeleton
        --complete--> all results, or one error
        --stream----> every step of every picture, then its result

Invariants: the seed of every picture is fixed and reported before anything runs; several pictures succeed together or
fail together; whoever stops listening stops the work; the permit of a caller with a quota is held from before anything
is decoded or computed to the end of the block, which is the one place where it is given back.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from config.schema import IngressSettings, ModelRoute
from deployments.errors import InvalidRequest
from deployments.models.registry import FAMILIES, Capability
from deployments.types import (
    MAX_SEED,
    ImageRequest,
    ImageResult,
    MaskReading,
    OutputFormat,
    PoseGuidance,
    PoseSource,
    Progress,
    Quality,
    Skeleton,
    Standing,
)
from serve_app.admission import check_bytes, permit
from serve_app.auth import Caller
from serve_app.backend import Backend, Spending
from serve_app.deadlines import by
from serve_app.request_log import current
from serve_app.routing import check_steps, output_size, require_allowed, require_capability, resolve

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a caller asked for. None: as the model, its presets or the service decide."""

    model: str | None
    prompt: str = field(repr=False)
    negative_prompt: str = field(default="", repr=False)
    size: tuple[int, int] | None = None  # None: the given picture's own, without one the model's default
    seed: int | None = None  # of the first picture
    count: int = 1  # pictures, whose seeds follow one another
    quality: Quality = "smooth"
    steps: int | None = None
    guidance_scale: float | None = None
    image: bytes | None = field(default=None, repr=False)
    mask: bytes | None = field(default=None, repr=False)
    mask_reads: MaskReading = "alpha"
    strength: float | None = None
    wants_pose: bool = False  # the image is a pose to take over, whatever SDXL model is named
    pose: PoseSource | None = None  # instead of one found in the image
    pose_strength: float = 1.0
    pose_end: float = 1.0
    output_format: OutputFormat = "png"
    output_compression: int = 100
    partial_images: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """An order that the model can fulfil."""

    route: ModelRoute
    requests: list[ImageRequest]
    skeleton: Skeleton | None
    useless: tuple[str, ...]  # fields that have no meaning for it
    spending: Spending  # by the index of the request; written as the pictures are made


@asynccontextmanager
async def accept(order: Order, backend: Backend, identifier: str, caller: Caller) -> AsyncIterator[Accepted]:
    """Refuses what the model cannot do before it costs GPU time; has the pose drawn. Raises an EaselError.

    The block is where the pictures are made.
    """
    settings = backend.settings()
    deadline = time.time() + settings.deadline_seconds
    for name, picture in (("image", order.image), ("mask", order.mask), ("pose_image", _drawing(order.pose))):
        check_bytes(picture, name, settings)
    route = _route(order, settings, caller)
    pose = _pose(order) if route.family == "sdxl-pose" else None
    edited = order.image if route.family != "sdxl-pose" else None
    require_capability(route, _capability(route, pose, edited, order.mask))
    if order.steps is not None:
        check_steps(route, order.steps)
    if order.size is not None and edited is None:  # an edit may be as large as its picture, which is to be seen
        output_size(route, order.size, None)
    async with permit(caller, order.count, backend, deadline) as spending:
        look = partial(_own_size, order, edited, backend, caller)
        given_as, own_size = await by(deadline, "The decoder of pictures", look)
        width, height = output_size(route, order.size, own_size, any_multiple=edited is not None, given_as=given_as)
        skeleton = None
        if pose is not None and settings.pose is not None:
            skeleton = await backend.draw_skeleton(settings.pose, pose, width, height, deadline, caller.name)
        standing = Standing(
            deadline=deadline,
            caller=caller.name,
            weight=caller.weight,
            priority=caller.priority,
            order=secrets.token_hex(8),
        )
        first = _first_request(order, route, identifier, (width, height), edited, skeleton, standing)
        current().accepted(model=route.name, size=(width, height), steps=order.steps, pictures=order.count)
        yield Accepted(route, _series(first, order.count), skeleton, _useless(route, order, first), spending)


async def complete(accepted: Accepted, backend: Backend) -> list[ImageResult]:
    """The pictures, in the order of their seeds. Raises the first EaselError of any; the others are then cancelled."""

    async def make(index: int, request: ImageRequest) -> ImageResult:
        result = await backend.generate(accepted.route, request)
        accepted.spending[index] = result.device_seconds
        current().made(result)
        return result

    async with _running([make(*numbered) for numbered in enumerate(accepted.requests)]) as all_results:
        return await all_results


async def stream(accepted: Accepted, backend: Backend) -> AsyncGenerator[tuple[int, Progress | ImageResult], None]:
    """What happens to each picture, with its index, as it happens, from when all are taken; otherwise as `complete`."""
    current().streamed = True
    events: asyncio.Queue[tuple[int, Progress | ImageResult] | None] = asyncio.Queue()

    async def follow(index: int, request: ImageRequest) -> None:
        async with aclosing(backend.stream(accepted.route, request)) as told:
            async for event in told:
                if isinstance(event, ImageResult):
                    current().made(event)
                accepted.spending[index] = event.device_seconds
                events.put_nowait((index, event))

    async with _running([follow(*numbered) for numbered in enumerate(accepted.requests)]) as all_ends:
        all_ends.add_done_callback(lambda _: events.put_nowait(None))
        held: list[tuple[int, Progress | ImageResult]] = []
        not_taken = set(range(len(accepted.requests)))
        while (event := await events.get()) is not None:
            held.append(event)
            not_taken.discard(event[0])
            if not not_taken:
                for each in held:
                    yield each
                held.clear()
        await all_ends


@asynccontextmanager
async def _running(work: Sequence[Coroutine[Any, Any, Done]]) -> AsyncIterator[asyncio.Future[list[Done]]]:
    """Runs side by side; whatever still runs at the end of the block is for nobody, and cancelled."""
    tasks = [asyncio.ensure_future(each) for each in work]
    all_of_them = asyncio.gather(*tasks)
    all_of_them.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio logs one unseen
    try:
        yield all_of_them
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _route(order: Order, settings: IngressSettings, caller: Caller) -> ModelRoute:
    """The model named, or what follows poses in its place: a key for either may have that."""
    named = route = resolve(order.model, settings, caller.models)
    if named.family != "sdxl-pose" and (order.wants_pose or order.pose):
        if named.family != "sdxl" or settings.pose is None:
            raise InvalidRequest(
                f"{named.name} does not follow poses; SDXL models do where the service has a pose model.",
                code="unsupported_capability",
                param="model",
            )
        route = resolve(settings.pose.model, settings)
    require_allowed([named, route], settings, caller.models)
    return route


def _pose(order: Order) -> PoseSource | None:
    if order.pose is not None:
        return order.pose
    return None if order.image is None else PoseSource(photo=order.image)


def _check_mask_size(image: tuple[int, int], mask: tuple[int, int]) -> None:
    if mask != image:
        raise InvalidRequest(
            f"mask: must be as large as the image, {image[0]}x{image[1]}, and is {mask[0]}x{mask[1]}.", param="mask"
        )


def _drawing(pose: PoseSource | None) -> bytes | None:
    return None if pose is None else pose.drawing


def _capability(route: ModelRoute, pose: PoseSource | None, image: bytes | None, mask: bytes | None) -> Capability:
    if pose is not None:
        return "pose"
    if image is None:
        return "text-to-image"
    # Without a mask the image's own transparency may be one: who decodes it decides.
    can_only_repaint = "image-to-image" not in FAMILIES[route.family].capabilities
    return "inpainting" if mask is not None or can_only_repaint else "image-to-image"


async def _own_size(
    order: Order, edited: bytes | None, backend: Backend, caller: Caller
) -> tuple[str, tuple[int, int] | None]:
    """Of what was given to work from, and its field. Raises InvalidRequest where the mask's is another."""
    if order.pose is not None and order.pose.canvas is not None:
        return "keypoints", order.pose.canvas
    name, picture = ("image", order.image) if order.pose is None else ("pose_image", order.pose.drawing)
    size = None if picture is None else await backend.measure(picture, name, caller.name)
    if size is not None and edited is not None and order.mask is not None:
        _check_mask_size(size, await backend.measure(order.mask, "mask", caller.name))
    return name, size


def _first_request(
    order: Order,
    route: ModelRoute,
    identifier: str,
    size: tuple[int, int],
    edited: bytes | None,
    skeleton: Skeleton | None,
    standing: Standing,
) -> ImageRequest:
    return ImageRequest(
        request_id=identifier,
        model=route.name,
        prompt=order.prompt,
        negative_prompt=order.negative_prompt,
        width=size[0],
        height=size[1],
        seed=secrets.randbelow(MAX_SEED + 1) if order.seed is None else order.seed,
        quality=order.quality,
        steps=order.steps,
        guidance_scale=order.guidance_scale,
        image=edited,
        mask=None if edited is None else order.mask,
        mask_reads=order.mask_reads,
        strength=None if edited is None else order.strength,
        pose=None
        if skeleton is None
        else PoseGuidance(skeleton=skeleton.picture, strength=order.pose_strength, end=order.pose_end),
        partial_images=order.partial_images,
        output_format=order.output_format,
        output_compression=order.output_compression,
        standing=standing,
    )


def _series(first: ImageRequest, count: int) -> list[ImageRequest]:
    """Seeds wrap around, so that every reported seed can be asked for again."""
    return [first] + [
        dataclasses.replace(first, request_id=f"{first.request_id}-{index}", seed=(first.seed + index) % (MAX_SEED + 1))
        for index in range(1, count)
    ]


def _useless(route: ModelRoute, order: Order, request: ImageRequest) -> tuple[str, ...]:
    return (
        *FAMILIES[route.family].useless,
        *(("image", "images") if order.pose is not None else ()),
        *(("mask", "strength") if request.image is None else ()),
        *(("pose_strength", "pose_end") if request.pose is None else ()),
    )
