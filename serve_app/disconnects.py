"""A client who leaves, as ASGI tells of it, also where Serve tells of it in another way.

When a client leaves, Serve's proxy cancels the call of the replica, and with it whatever that call waits for. Where
that is first the call that fetches the client's messages, `receive` raises Ray's TaskCancelledError, which would be
taken for a fault of ours: logged with its place, counted as failed. Of a proxy that has died all clients are gone.
"""

from __future__ import annotations

from ray.exceptions import RayActorError, TaskCancelledError
from starlette.types import Message, Receive, Scope, Send

from serve_app.middleware import HttpMiddleware


class Disconnects(HttpMiddleware):
    """See the module's docstring. Invariant: once the client has left, every `receive` says so."""

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_left = False

        async def receive_or_leave() -> Message:
            nonlocal has_left
            if not has_left:
                try:
                    return await receive()
                except (TaskCancelledError, RayActorError):
                    has_left = True
            return {"type": "http.disconnect"}

        await self.app(scope, receive_or_leave, send)
