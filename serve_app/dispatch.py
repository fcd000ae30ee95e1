"""A request's way to its model: deadline, one retry on a lost replica, and one error tree at the end.

Serve leaves three things to its callers: a call to an application without a live replica waits for ever, a request
whose replica died is not tried again, and a remote error arrives wrapped. All three end here; cancelling the call, and
the deadline, cancel the work on the replica.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from config.schema import ModelRoute
from deployments.errors import (
    DeadlineExceeded,
    EaselError,
    GenerationFailed,
    ModelUnavailable,
    Overloaded,
    ReplicaLost,
)
from deployments.types import ImageRequest, ImageResult


class Dispatcher:
    """Sends requests to the application that a route names."""

    def __init__(self, find_handle: Callable[[str], Any] = serve.get_app_handle) -> None:
        self._find_handle = find_handle
        self._handles: dict[str, asyncio.Task[DeploymentHandle]] = {}

    async def generate(self, route: ModelRoute, request: ImageRequest) -> ImageResult:
        """The result, by `request.deadline`. Raises an EaselError and nothing else (but for being cancelled)."""
        try:
            return await asyncio.wait_for(self._with_one_retry(route, request), request.deadline - time.time())
        except asyncio.TimeoutError:
            raise DeadlineExceeded(f"{route.name} did not answer in the time that is allowed.") from None

    async def _with_one_retry(self, route: ModelRoute, request: ImageRequest) -> ImageResult:
        """The seed is in the request, so the second try makes the same picture."""
        try:
            return await self._call(route, request)
        except ReplicaLost:
            return await self._call(route, request)

    async def _call(self, route: ModelRoute, request: ImageRequest) -> ImageResult:
        try:
            handle = await self._handle(route.application)
            return await _answer(handle.generate.remote(request))
        except RayTaskError as error:
            if isinstance(error.cause, EaselError):
                raise error.cause from None
            raise GenerationFailed(f"{route.name} failed on this request.") from error
        except BackPressureError as error:
            raise Overloaded(f"{route.name} has too many requests.", retry_after_seconds=5) from error
        except RayServeException as error:
            self._handles.pop(route.application, None)  # looked up again, should the application come back
            raise ModelUnavailable(f"{route.name} is not available now.", retry_after_seconds=15) from error
        except RayError as error:  # its actor or node died, or the result was lost with it
            raise ReplicaLost(f"The replica of {route.name} was lost.", retry_after_seconds=10) from error

    async def _handle(self, application: str) -> DeploymentHandle:
        """Kept, since looking it up asks the controller; found late, since applications start in any order.

        In a thread, since finding it waits for the Serve controller; once for all who wait for it, whoever gives up.
        """

        def forget_failure(search: asyncio.Task[DeploymentHandle]) -> None:
            if search.cancelled() or search.exception():
                self._handles.pop(application, None)

        if application not in self._handles:
            self._handles[application] = asyncio.create_task(asyncio.to_thread(self._find_handle, application))
            self._handles[application].add_done_callback(forget_failure)
        return await asyncio.shield(self._handles[application])


async def _answer(response: DeploymentResponse[ImageResult]) -> ImageResult:
    try:
        result: ImageResult = await response
        return result
    except asyncio.CancelledError:
        response.cancel()  # Serve does it only where the request that is being served was cancelled, not at a deadline
        raise
