"""A request's way to its model: deadline, one retry on a lost replica, and one error tree at the end.

Serve leaves three things to its callers: a call to an application without a live replica waits for ever, a request
whose replica died is not tried again, and a remote error arrives wrapped. All three end here; cancelling the call,
leaving a stream, and the deadline cancel the work on the replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from config.schema import ModelRoute
from deployments.errors import (
    EaselError,
    GenerationFailed,
    ModelUnavailable,
    Overloaded,
    ReplicaLost,
)
from deployments.types import ImageRequest, ImageResult, PoseSource, Progress, Skeleton
from serve_app.deadlines import by

Answer = TypeVar("Answer")

POSE_ESTIMATOR = "The pose estimator"  # what errors call it


class Dispatcher:
    """Sends requests to the application that a route names.

    Whatever Serve and Ray raise is an EaselError here.
    """

    def __init__(self, find_handle: Callable[[str], Any] = serve.get_app_handle) -> None:
        self._find_handle = find_handle
        self._handles: dict[str, asyncio.Task[DeploymentHandle]] = {}

    async def generate(self, route: ModelRoute, request: ImageRequest) -> ImageResult:
        """The result, by the request's deadline. The seed is in the request: a second try makes the same picture."""

        async def attempt() -> ImageResult:
            with self._told(route.application, route.name):
                handle = await self._handle(route.application)
                result: ImageResult = await answer_of(handle.generate.remote(request))
                return result

        return await by(request.standing.deadline, route.name, partial(_with_one_retry, attempt))

    async def draw_skeleton(
        self, application: str, source: PoseSource, width: int, height: int, deadline: float, caller: str
    ) -> Skeleton:
        """The pose of `source`, drawn width × height by the pose estimator, by `deadline` (unix seconds)."""

        async def attempt() -> Skeleton:
            with self._told(application, POSE_ESTIMATOR):
                handle = await self._handle(application)
                skeleton: Skeleton = await answer_of(handle.draw.remote(source, width, height, caller))
                return skeleton

        return await by(deadline, POSE_ESTIMATOR, partial(_with_one_retry, attempt))

    async def stream(self, route: ModelRoute, request: ImageRequest) -> AsyncGenerator[Progress | ImageResult, None]:
        """Progress, and last the result; otherwise as `generate`. A second try does not show the same previews again.

        Close it (`contextlib.aclosing`) to cancel the work.
        """
        steps_told = -1
        for attempt in (1, 2):
            told_before = steps_told
            try:
                async with aclosing(self._events(route, request)) as events:
                    async for event in events:
                        if isinstance(event, ImageResult):
                            yield event
                            return  # whatever happens to the replica now, the request has its answer
                        steps_told = max(steps_told, event.step)
                        yield event if event.step > told_before else replace(event, preview=None)
                raise ReplicaLost(f"The replica of {route.name} stopped amid a picture.", retry_after_seconds=10)
            except ReplicaLost:
                if attempt == 2:
                    raise

    async def _events(self, route: ModelRoute, request: ImageRequest) -> AsyncGenerator[Progress | ImageResult, None]:
        async def begin() -> DeploymentResponseGenerator[Progress | ImageResult]:
            with self._told(route.application, route.name):
                handle = await self._handle(route.application)
                return handle.options(stream=True).stream.remote(request)

        async def go_on() -> Progress | ImageResult | None:
            with self._told(route.application, route.name):  # within the deadline: Ray has TimeoutErrors of its own
                return await anext(response, None)

        response = await by(request.standing.deadline, route.name, begin)
        try:
            while (event := await by(request.standing.deadline, route.name, go_on)) is not None:
                yield event
        finally:
            response.cancel()  # does nothing to one that has ended

    @contextmanager
    def _told(self, application: str, name: str) -> Iterator[None]:
        """Tells in our own words what went wrong with a call of `application`."""
        try:
            yield
        except RayTaskError as error:
            if isinstance(error.cause, EaselError):
                raise error.cause from None
            raise GenerationFailed(f"{name} failed on this request.") from error
        except BackPressureError as error:
            raise Overloaded(f"{name} has too many requests.", retry_after_seconds=5) from error
        except RayServeException as error:
            self._handles.pop(application, None)  # looked up again, should the application come back
            raise ModelUnavailable(f"{name} is not available now.", retry_after_seconds=15) from error
        except RayError as error:  # its actor or node died, or the result was lost with it
            raise ReplicaLost(f"The replica of {name} was lost.", retry_after_seconds=10) from error

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


async def _with_one_retry(attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    try:
        return await attempt()
    except ReplicaLost:
        return await attempt()


async def answer_of(response: DeploymentResponse[Any]) -> Any:
    """What a call of a deployment returns; whoever is cancelled while waiting cancels the call."""
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()  # Serve does it only where the request that is being served was cancelled, not at a deadline
        raise
