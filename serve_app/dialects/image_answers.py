"""How OpenAI-shaped dialects answer: pictures by link or in base64, at once or as events while they form."""

from __future__ import annotations

import math
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, Literal

from fastapi import Request
from fastapi.responses import Response

from deployments.errors import StoreUnavailable
from deployments.types import ImageResult, Progress, Skeleton
from serve_app.auth import Caller
from serve_app.backend import Backend
from serve_app.dialects.event_stream import Comment, Event, open_stream
from serve_app.dialects.fields import IGNORED_PARAMETERS_HEADER, ResponseFormat
from serve_app.dialects.image_answer_bodies import (
    CompletedEvent,
    ImagesAnswer,
    PartialImageEvent,
    Picture,
    TokensByKind,
    Usage,
)
from serve_app.dialects.image_bodies import ImageBody
from serve_app.dialects.keypoints import Keypoints
from serve_app.dialects.picture_data import to_base64
from serve_app.dialects.timings import timings
from serve_app.middleware import request_id
from serve_app.orders import Accepted, accept, complete, stream

Kind = Literal["image_generation", "image_edit"]

_PIXELS_PER_TOKEN = 16 * 16  # OpenAI's own models count about as many for a picture
_WORD = re.compile(r"\w+|[^\w\s]")


async def answer(
    body: ImageBody, kind: Kind, backend: Backend, caller: Caller, request: Request, response: Response
) -> Any:
    """An ImagesAnswer, or an EventStream where `stream` is asked for. Raises an EaselError."""
    order = body.to_order()
    delivery = await _possible(body, backend)
    async with AsyncExitStack() as held:
        accepted = await held.enter_async_context(accept(order, backend, request_id(request.scope), caller))
        headers = {}
        if ignored := body.ignored_parameters((*accepted.useless, *_useless_here(body))):
            headers[IGNORED_PARAMETERS_HEADER] = ignored
        if body.stream:
            return await open_stream(_events(body, kind, accepted, backend, held.pop_all()), headers)
        results = await complete(accepted, backend)
    response.headers.update(headers | timings(results))
    return ImagesAnswer(
        created=int(time.time()),
        data=await _delivered(results, accepted, delivery, backend, base_url(backend, request), caller.name),
        usage=_usage(accepted, len(results)),
        **_described(body, accepted),
    )


def _useless_here(body: ImageBody) -> tuple[str, ...]:
    """A stream delivers in base64; previews are for streams."""
    if body.stream:
        return () if "b64_json" in body.delivery else ("response_format",)
    return ("partial_images",) if body.partial_images else ()


async def _events(
    body: ImageBody, kind: Kind, accepted: Accepted, backend: Backend, held: AsyncExitStack
) -> AsyncGenerator[Event, None]:
    """Ends the block of `accept`, which is `held`, with the last event or when it is closed."""
    shown = [0] * len(accepted.requests)
    async with held, aclosing(stream(accepted, backend)) as told:
        async for index, event in told:
            common = {"index": index, "created_at": int(time.time()), **_described(body, accepted)}
            if isinstance(event, ImageResult):
                yield CompletedEvent(
                    type=f"{kind}.completed",
                    b64_json=to_base64(event.image),
                    usage=_usage(accepted, 1),
                    seed=event.seed,
                    **common,
                    **_pose_fields(accepted.skeleton, in_base64=True),
                )
            elif event.preview is not None:
                yield PartialImageEvent(
                    type=f"{kind}.partial_image",
                    b64_json=to_base64(event.preview),
                    partial_image_index=shown[index],
                    **common,
                )
                shown[index] += 1
            else:
                yield _progress(index, event)


def _progress(index: int, event: Progress) -> Comment:
    """It keeps the connection open and is good to see in a terminal."""
    waiting = f"waiting behind {event.waiting_ahead}" if event.waiting_ahead else "waiting"
    done = waiting if event.is_waiting else f"step {event.step} of {event.steps}"
    left = "" if event.seconds_left is None else f", about {round(event.seconds_left, 1):g} s left"
    return Comment(f"picture {index}: {done}{left}", event.seconds_left)


async def _possible(body: ImageBody, backend: Backend) -> frozenset[ResponseFormat]:
    """The forms to deliver; StoreUnavailable where only links are wanted and none can be made now.

    Asked before the work, since what cannot be delivered would be made for nothing. A stream delivers no links.
    """
    if "url" in body.delivery and not body.stream:
        try:
            await backend.check_links()
        except StoreUnavailable:
            if "b64_json" not in body.delivery:
                raise
            return frozenset(["b64_json"])
    return body.delivery


async def _delivered(
    results: Sequence[ImageResult],
    accepted: Accepted,
    delivery: frozenset[ResponseFormat],
    backend: Backend,
    address: str,
    owner: str,
) -> list[Picture]:
    """In all forms of `delivery`, or in base64 alone where a link could not be made and base64 is one of them."""
    try:
        return await _pictures(results, accepted, delivery, backend, address, owner)
    except StoreUnavailable:
        if "b64_json" not in delivery:
            raise
        return await _pictures(results, accepted, frozenset(["b64_json"]), backend, address, owner)


async def _pictures(
    results: Sequence[ImageResult],
    accepted: Accepted,
    delivery: frozenset[ResponseFormat],
    backend: Backend,
    address: str,
    owner: str,
) -> list[Picture]:
    pose = _pose_fields(accepted.skeleton, in_base64="b64_json" in delivery)
    if accepted.skeleton and "url" in delivery:
        pose["url_pose"] = await backend.keep(accepted.skeleton.picture, "png", address, owner)
    pictures = []
    for result in results:
        forms: dict[str, Any] = {}
        if "url" in delivery:
            forms["url"] = await backend.keep(result.image, result.output_format, address, owner)
            if accepted.skeleton:
                forms["url_image"] = forms["url"]
        if "b64_json" in delivery:
            forms["b64_json"] = to_base64(result.image)
        pictures.append(Picture(**forms, **pose, seed=result.seed, revised_prompt=None))
    return pictures


def _pose_fields(skeleton: Skeleton | None, *, in_base64: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if skeleton and in_base64:
        fields["b64_json_pose"] = to_base64(skeleton.picture)
    if skeleton and skeleton.people:
        fields["keypoints"] = Keypoints.from_people(skeleton.people, skeleton.width, skeleton.height)
    return fields


def _described(body: ImageBody, accepted: Accepted) -> dict[str, Any]:
    first = accepted.requests[0]
    return {
        "background": "opaque",
        "output_format": first.output_format,
        "quality": body.quality,
        "size": f"{first.width}x{first.height}",
    }


def _usage(accepted: Accepted, pictures: int) -> Usage:
    first = accepted.requests[0]
    per_picture = math.ceil(first.width * first.height / _PIXELS_PER_TOKEN)
    text = len(_WORD.findall(first.prompt))
    given = per_picture if first.image is not None or first.pose is not None else 0
    made = pictures * per_picture
    return Usage(
        input_tokens=text + given,
        output_tokens=made,
        total_tokens=text + given + made,
        input_tokens_details=TokensByKind(text_tokens=text, image_tokens=given),
    )


def base_url(backend: Backend, request: Request) -> str:
    """What links start with: the configured address, else the one that the request came to."""
    return str(backend.settings().public_url or request.base_url).rstrip("/")
