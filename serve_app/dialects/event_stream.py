"""Server-sent events: an answer that begins before it is complete.

What is refused is refused with its own status, since the answer begins with the first event. What fails later is an
event `{"error": …}`, which OpenAI's clients raise. Whoever hangs up closes the source of the events.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from deployments.errors import EaselError
from deployments.logs import without_text
from serve_app.dialects.timings import ETA_HEADER, seconds
from serve_app.errors import error_body

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Comment:
    """A line that clients skip."""

    text: str
    seconds_left: float | None = None  # is in the headers too of an answer that begins with it


Event = BaseModel | Comment  # the former is named by its `type`


class EventStream(StreamingResponse):
    """Answers with the events of `events`; made by `open_stream`."""

    def __init__(self, first: Event, events: AsyncGenerator[Event, None], headers: dict[str, str]) -> None:
        super().__init__(_encoded(first, events), media_type="text/event-stream", headers=headers)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


async def open_stream(events: AsyncGenerator[Event, None], headers: dict[str, str]) -> EventStream:
    """Waits for the first event; raises what is raised before it."""
    first = await anext(events)  # a generator that raises is closed
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers}
    if isinstance(first, Comment) and first.seconds_left is not None:
        headers[ETA_HEADER] = seconds(first.seconds_left)
    return EventStream(first, events, headers)


async def _encoded(first: Event, events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    yield _encode(first)
    try:
        async for event in events:
            yield _encode(event)
    except EaselError as error:
        yield _error(error)
    except Exception as error:
        logger.error("A stream failed:\n%s", without_text(error))
        yield _error(EaselError("The server failed on this request."))


def _encode(event: Event) -> bytes:
    if isinstance(event, Comment):
        return format_sse_event(comment=event.text)
    body: dict[str, Any] = event.model_dump(exclude_unset=True)
    return format_sse_event(event=body.get("type"), data_str=json.dumps(body, separators=(",", ":")))


def _error(error: EaselError) -> bytes:
    return format_sse_event(event="error", data_str=json.dumps(error_body(error)))
