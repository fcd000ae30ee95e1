"""A request's way to its model: deadline, one retry on a lost replica, and one error tree at the end.

Serve leaves three things to its callers: a call to an application without a live replica waits for ever, a request
whose replica died is not tried again, and a remote error arrives wrapped. All three end here; cancelling the call
cancels the work on the replica.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

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
        self._handles: dict[str, DeploymentHandle] = {}

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
            result: ImageResult = await self._handle(route.application).generate.remote(request)
            return result
        except RayTaskError as error:
            if isinstance(error.cause, EaselError):
                raise error.cause from None
            raise GenerationFailed(f"{route.name} failed on this request.") from error
        except RayActorError as error:
            raise ReplicaLost(f"The replica of {route.name} was lost.", retry_after_seconds=10) from error
        except BackPressureError as error:
            raise Overloaded(f"{route.name} has too many requests.", retry_after_seconds=5) from error
        except (DeploymentUnavailableError, RayServeException) as error:
            self._handles.pop(route.application, None)  # a new deployment of the application has another
            raise ModelUnavailable(f"{route.name} is not available now.", retry_after_seconds=15) from error

    def _handle(self, application: str) -> DeploymentHandle:
        """Kept, since each starts a router of its own; found late, since applications start in any order."""
        if application not in self._handles:
            self._handles[application] = self._find_handle(application)
        return self._handles[application]
