"""What Serve's proxy answers by itself, since no replica of the ingress does: made the one shape of errors.

Serve's proxies take `middlewares` from the environment,

    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve_app.proxy:middlewares

Without it they answer in plain text: 500 to those whose ingress replica has died, 404 while the ingress is not there
yet or no more, 503 when it has no replica. All of that will pass, so here it is 503 with a `Retry-After`. What was
answered in part is cut, and not taken for whole. Serve writes the id that a request comes with into every line of its
log: one that is not fit for a log, or comes twice, is left out, and Serve makes one.

Invariant: what a replica of the ingress answers passes unchanged.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import Message, Receive, Scope, Send

from deployments.errors import Unavailable
from serve_app.errors import error_response
from serve_app.middleware import REQUEST_ID_HEADER, SANE_REQUEST_ID, HttpMiddleware

SERVES_OWN_ROUTES = "/-/"  # health and routes, which are for operators
RETRY_AFTER_SECONDS = 2.0


def middlewares() -> list[Middleware]:
    """For Serve's proxies."""
    return [Middleware(OwnErrors)]


class OwnErrors(HttpMiddleware):
    """See the module's docstring."""

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(SERVES_OWN_ROUTES):
            await self.app(scope, receive, send)
            return
        _leave_out_unfit_id(scope)
        own_headers = Headers()  # of an error of the proxy
        response_started = False

        async def send_if_of_a_replica(message: Message) -> None:
            nonlocal own_headers, response_started
            if message["type"] == "http.response.start":
                response_started = not _is_of_the_proxy(message)
                own_headers = Headers(raw=message["headers"])
            if response_started:
                await send(message)

        try:
            await self.app(scope, receive, send_if_of_a_replica)
        except Exception:  # Serve has logged it
            if response_started:
                raise
        if not response_started:  # Serve sends nothing at all where a replica dies that had not answered
            answer = error_response(_unavailable(), scope)
            if "retry-after" in own_headers:
                answer.headers["retry-after"] = own_headers["retry-after"]
            if identifier := Headers(scope=scope).get(REQUEST_ID_HEADER):  # of Serve, where none was sent
                answer.headers[REQUEST_ID_HEADER] = identifier
            await answer(scope, receive, send)


def _leave_out_unfit_id(scope: Scope) -> None:
    identifiers = Headers(scope=scope).getlist(REQUEST_ID_HEADER)
    if len(identifiers) != 1 or not SANE_REQUEST_ID.fullmatch(identifiers[0]):
        scope["headers"] = [header for header in scope["headers"] if header[0] != REQUEST_ID_HEADER.encode()]


def _is_of_the_proxy(start: Message) -> bool:
    """Of the ingress every error is JSON."""
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] >= 400 and not kind.startswith("application/json")


def _unavailable() -> Unavailable:
    return Unavailable(
        "The service is starting, stopping or has lost the replica that worked on this request.",
        code="ingress_unavailable",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
