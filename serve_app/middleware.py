"""What every request meets before its route: an id, a record, an answer to the unforeseen, limits of size and time.

Plain ASGI classes, so that nothing is buffered and cancellation passes through. `stack` fixes their order. Invariants:
every HTTP response carries exactly one `x-request-id`; nothing a caller wrote reaches the log, nor does the text of an
error, which may quote it. Not here: what a server in front must bound, since Serve's proxy has it before any of this
runs: how long headers take to come, and how slowly an answer is read.
"""

from __future__ import annotations

import logging
import math
import re
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import EaselError, HeadersTooLarge, InvalidRequest
from deployments.logs import without_text
from serve_app.auth import PINGS
from serve_app.errors import error_response
from serve_app.request_log import DIALECTS, RequestRecord, recording

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "x-request-id"
MAX_HEADERS = 100
MAX_HEAD_BYTES = 32 * 2**10  # of address and headers together
LEAST_BYTES_PER_SECOND = 64 * 2**10  # of a body that takes longer than its time
SANE_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
LOGGED_ROUTES = tuple(DIALECTS)  # of templates


def stack(
    max_body_bytes: int,
    body_timeout_seconds: float,
    *,
    behind_serve: bool,
    on_ended: Callable[[RequestRecord], None] = lambda record: None,
) -> list[Middleware]:
    """All but `Disconnects`, which Serve alone needs; outermost first: an unhandled error is answered, and logged, with
    the request's id.

    `behind_serve`: Serve's proxy sends the id back by itself. It takes any id from a client, also one that is replaced
    here. `on_ended` is told what the log is, when it is.
    """
    return [
        Middleware(RequestId, sends_it_back=not behind_serve),
        Middleware(RequestLog, on_ended=on_ended),
        Middleware(UnhandledErrors),
        Middleware(HeadLimit),
        Middleware(BodyTimeout, seconds=body_timeout_seconds),
        Middleware(BodyLimit, max_bytes=max_body_bytes),
    ]


def request_id(scope: Scope) -> str:
    """The id that `RequestId` gave the request."""
    identifier: str = scope["state"]["request_id"]
    return identifier


class HttpMiddleware(ABC):
    """Acts on HTTP requests; lets whatever else ASGI carries pass."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.http if scope["type"] == "http" else self.app)(scope, receive, send)

    @abstractmethod
    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one HTTP request."""


class RequestId(HttpMiddleware):
    """Takes the client's request id where it is fit for a header and a log, else makes one, and sends it back."""

    def __init__(self, app: ASGIApp, sends_it_back: bool) -> None:
        super().__init__(app)
        self._sends_it_back = sends_it_back

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        proposed = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        identifier = proposed if SANE_REQUEST_ID.fullmatch(proposed) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = identifier

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start" and self._sends_it_back:
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = identifier
            await send(message)

        await self.app(scope, receive, send_with_id)


class RequestLog(HttpMiddleware):
    """Has the log told how each request for a picture or a pose ended, whatever the end; pings ask for none."""

    def __init__(self, app: ASGIApp, on_ended: Callable[[RequestRecord], None]) -> None:
        super().__init__(app)
        self._on_ended = on_ended

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_at = time.monotonic()
        status, bytes_sent, whole = None, 0, False

        async def send_and_note(message: Message) -> None:
            nonlocal status, bytes_sent, whole
            await send(message)
            status = message.get("status", status)
            bytes_sent += len(message.get("body", b""))
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        with recording(request_id(scope)) as record:
            try:
                await self.app(scope, receive, send_and_note)
            finally:  # it may also be cancelled
                record.route = getattr(scope.get("route"), "path", None)  # as the router has found
                if record.route and record.route.startswith(LOGGED_ROUTES) and scope["method"] not in PINGS:
                    record.ended(status, bytes_sent, whole=whole, seconds=time.monotonic() - started_at)
                    self._on_ended(record)


class UnhandledErrors(HttpMiddleware):
    """Answers what no handler knows with a plain 500 and keeps its place for the log.

    Starlette's own place for this lies outside all other middleware, where neither the id nor the log line is set.
    """

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        response_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal response_started
            response_started = response_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except ClientDisconnect:
            return  # amid a request or an answer: there is nobody to tell
        except Exception as error:
            logger.error("Request %s failed:\n%s", request_id(scope), without_text(error))
            failure = EaselError("The server failed on this request.")
            answer = error_response(failure, scope)  # which notes it, sent or not
            if response_started:  # the server cuts the connection, so that a half answer is not taken for a whole one
                raise failure from None
            await answer(scope, receive, send)


class HeadLimit(HttpMiddleware):
    """Refuses more address and headers than any client needs. Serve's proxy takes 64 KiB of them."""

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, address = scope["headers"], (scope["path"], scope.get("query_string", b""))
        size = sum(map(len, address)) + sum(len(name) + len(value) for name, value in headers)
        if len(headers) <= MAX_HEADERS and size <= MAX_HEAD_BYTES:
            await self.app(scope, receive, send)
            return
        error = HeadersTooLarge(f"At most {MAX_HEADERS} headers of {MAX_HEAD_BYTES} bytes with the address are taken.")
        await error_response(error, scope)(scope, receive, send)


class BodyTimeout(HttpMiddleware):
    """Cuts off who takes longer over a body than `seconds`, and one more for each LEAST_BYTES_PER_SECOND that came.

    Whatever reads the body is cancelled, so that nothing is held for it. Only waiting for the client counts.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        super().__init__(app)
        self._seconds = seconds

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        seconds_left = self._seconds
        is_complete = response_started = False

        async def timely() -> Message:
            nonlocal seconds_left, is_complete
            if is_complete:  # what comes now is that the client has gone, some time
                return await receive()
            patience.deadline = anyio.current_time() + seconds_left
            message = await receive()
            seconds_left = patience.deadline - anyio.current_time()
            seconds_left += len(message.get("body", b"")) / LEAST_BYTES_PER_SECOND
            patience.deadline = math.inf
            is_complete = not message.get("more_body", False)
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal response_started
            response_started = True
            await send(message)

        with anyio.CancelScope() as patience:
            await self.app(scope, timely, send_and_note)
        if patience.cancelled_caught and not response_started:
            error = InvalidRequest("The body took too long to come.", code="body_timeout")
            answer = error_response(error, scope)
            answer.headers["connection"] = "close"  # the rest of the body is not waited for
            await answer(scope, receive, send)


class BodyLimit(HttpMiddleware):
    """Refuses a body above `max_bytes` when it is read: by its announced length at once, else when the count passes it.

    FastAPI's `max_body_size` came after 0.162, and answers in plain text where a route does not read the body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        super().__init__(app)
        self.max_bytes = max_bytes

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        announced = Headers(scope=scope).get("content-length", "")
        # FastAPI lets this class alone pass while it parses a body; any other becomes a 400.
        too_large = HTTPException(413, f"The body is larger than {self.max_bytes} bytes.")
        read = 0

        async def counted() -> Message:
            nonlocal read
            if announced.isdecimal() and int(announced) > self.max_bytes:
                raise too_large
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_bytes:
                raise too_large
            return message

        await self.app(scope, counted, send)
